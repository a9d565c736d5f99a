"""The Optuna dashboard on the studies' database: to look at, for this machine only.

Run as a program it is the server; the database's URL comes by environment, for everyone sees a program's arguments.
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

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def optuna_server(studies_url: str, port: int | None, above: int) -> WebServer:
    """How to start the dashboard.

    Args:
        studies_url: Of the studies' database.
        port: To listen on.
        above: Without one, the first free port above this.

    Raises:
        InvalidInputError: The dashboard is not installed.
    """
    if find_spec("optuna_dashboard") is None:
        raise InvalidInputError(
            "--optuna needs the Optuna dashboard. Install it with: pip install 'frostline[optuna]'; "
            "or leave --optuna out"
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
    )


def guard(app: Application, hosts: Collection[str]) -> Application:
    """Let nothing through but what a browser of this machine reads.

    The dashboard itself asks no request where it comes from; and it would delete, rename and finish studies and
    trials, of which our own tables beside Optuna's would not hear.

    Args:
        app: The dashboard.
        hosts: What a request's Host header may be.
    """

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        foreign = environ.get("HTTP_HOST") not in hosts
        if not foreign and environ["REQUEST_METHOD"] in _READING:
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"reason": "%s"}' % (b"This host is not served." if foreign else b"Here studies are only looked at.")]

    return answer


class _Server(ThreadingMixIn, WSGIServer):
    """A thread a request; none holds up the end."""

    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    """Tells of errors, not of every request."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main(port: int, studies_url: str) -> None:
    """Serve the dashboard until ended."""
    from optuna.storages import RDBStorage
    from optuna_dashboard import wsgi

    # Optuna's own connections, not those of a search: these would queue as writers even to read.
    storage = RDBStorage(studies_url, skip_compatibility_check=True, skip_table_creation=True)
    app = guard(wsgi(storage), frozenset(allowed_hosts(port)))
    with make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), os.environ[STORAGE_VARIABLE])
