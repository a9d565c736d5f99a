"""The Optuna dashboard on the studies' database: read-only, and reachable from this machine only.

Run as a program, this module is the server. It reads the database URL from the environment, because every user can see
a program's arguments.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable
from importlib.util import find_spec
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ...objectives.errors import InvalidInputError
from ...storage.workspace import STORAGE_VARIABLE
from .ports import is_taken
from .web_server import WebServer, allowed_hosts

HOST = "127.0.0.1"
_PORTS, _LAST_PORT = 100, 65535
_READING = ("GET", "HEAD")

# Optuna's importances are those of all trials of a study, which are of all strategies.
_CAUTION = (
    "Its hyperparameter importances mix all strategies, so they can contradict those of the report, which are of one "
    "strategy each."
)

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def optuna_server(studies_url: str, port: int | None, above: int) -> WebServer:
    """Return the command that starts the dashboard.

    Args:
        studies_url: URL of the studies' database.
        port: Port to listen on; None for the first free port above ``above``.
        above: Port above which a free one is searched.

    Raises:
        InvalidInputError: The dashboard is not installed.
    """
    if find_spec("optuna_dashboard") is None:
        raise InvalidInputError(
            "--optuna needs the Optuna dashboard. Install it with: pip install 'frostline[optuna]'; or omit --optuna"
        )
    following = range(above + 1, min(above + _PORTS, _LAST_PORT + 1))
    chosen = port or next((each for each in following if not is_taken(HOST, each)), _LAST_PORT)
    return WebServer(
        "Optuna",
        [sys.executable, "-m", "frostline.dashboards.servers.optuna_ui", str(chosen)],
        HOST,
        chosen,
        "--optuna-port",
        "/api/meta",
        {STORAGE_VARIABLE: studies_url},
        studies_url,
        caution=_CAUTION,
    )


def guard(app: Application, hosts: Collection[str]) -> Application:
    """Reject all requests except reads from a browser of this machine.

    The dashboard itself does not check where a request comes from. It could delete, rename and finish studies and
    trials, which would make Optuna's tables disagree with Frostline's.

    Args:
        app: WSGI application of the dashboard.
        hosts: Allowed values of a request's Host header.

    Returns:
        WSGI application that answers other requests with status 403.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        foreign = environ.get("HTTP_HOST") not in hosts
        if not foreign and environ["REQUEST_METHOD"] in _READING:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "%s"}' % (b"This host is not allowed." if foreign else b"This dashboard is read-only.")]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """A server with a daemon thread for each request, so that no request delays its end."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """A handler that logs errors, not every request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main(port: int, studies_url: str) -> None:
    """Serve the dashboard until the process is ended."""
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    # Optuna's own connections: those of a search would wait for writers even to read.
    storage = RDBStorage(studies_url, skip_compatibility_check=True, skip_table_creation=True)
    app = guard(wsgi(storage), frozenset(allowed_hosts(port)))
    with make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), os.environ[STORAGE_VARIABLE])
