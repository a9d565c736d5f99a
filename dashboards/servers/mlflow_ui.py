"""The MLflow UI of a workspace: a server for this machine only, which runs until interrupted."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.metadata import entry_points, version
from pathlib import Path
from types import FrameType
from typing import NoReturn
from urllib.parse import urlsplit

from .web_server import RunningServer, UiError, WebServer, allowed_hosts

__all__ = ["UiError", "serve_ui", "study_page"]

# One web process instead of ten, and no telemetry.
_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# Entry point of MLflow's app with our browser defaults, declared in pyproject.toml, and its module.
_APP, _MODULE = "frostline", "mlflow_app"
_PLAIN = (
    f"MLflow {version('mlflow')} shows its pages without Frostline's defaults. If it shows pages for language models, "
    "choose Model training at the top left."
)
_LOOK_SECONDS = 0.5


def study_page(experiment_id: str, view: str | None = None) -> str:
    """Return the path of a study's page in the MLflow UI, which lists its runs nested under their parent.

    The path asks for model training; by default MLflow 3 opens its pages for language models.

    Args:
        experiment_id: Id of the study's experiment.
        view: Name of the experiment's saved view to show; None for MLflow's default.

    Examples:
        >>> from frostline.dashboards.servers import study_page
        >>> study_page("7")
        '#/experiments/7/runs?workflowType=machine_learning'
    """
    shown = f"&viewStateShareKey={view}" if view else ""
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning{shown}"


def serve_ui(
    tracking_uri: str,
    artifacts: Path | None,
    *,
    port: int,
    host: str = "127.0.0.1",
    open_browser: bool = True,
    study_url_path: str | None = None,
    beside: Sequence[tuple[WebServer, str]] = (),
    write: Callable[[str], None] = print,
) -> None:
    """Serve the MLflow UI until interrupted; for a remote tracking server, only print its address.

    Returns on Ctrl-C and SIGTERM, after stopping every process that it started.

    Args:
        tracking_uri: URI of the tracking store.
        artifacts: Folder of uploads through the server; None for a server that accepts none.
        port: Port to listen on.
        host: Address to listen on; requests must name it, or the loopback.
        open_browser: Whether to open the page if there is a screen.
        study_url_path: Path of the page to open, see :func:`study_page`.
        beside: Further servers that start and stop with this one, each with the path of its page.
        write: Function that prints messages.

    Raises:
        UiError: A port is taken, or a server does not start or exits by itself.
    """
    remote = urlsplit(tracking_uri).scheme in ("http", "https")
    own = [] if remote else [(_mlflow_server(tracking_uri, artifacts, host, port), study_url_path or "")]
    served = [*own, *beside]
    for server, _ in served:
        server.require_free()
    if remote:
        _tell("MLflow", tracking_uri, study_url_path or "", open_browser, write)
    if served:
        _serve(served, open_browser, write)


def _serve(served: Sequence[tuple[WebServer, str]], open_browser: bool, write: Callable[[str], None]) -> None:
    names = " and the ".join(f"{server.name} UI" for server, _ in served)
    with _ends_on_sigterm(), ExitStack() as running:
        try:
            write(f"Starting the {names} ...")
            started = [_start(server, running) for server, _ in served]
            for index, (server, path) in enumerate(served):
                started[index] = _await_answer(server, started[index], running)
                _tell(server.name, server.address, path, open_browser, write)
                if server.caution:
                    write(server.caution)
                if server.custom and not started[index].is_customized():
                    write(_PLAIN)
            write("Ctrl-C ends it.")
            while True:
                for each in started:
                    each.require_alive()
                time.sleep(_LOOK_SECONDS)
        except KeyboardInterrupt:
            write(f"The {names} {'has' if len(served) == 1 else 'have'} ended.")


def _start(server: WebServer, running: ExitStack) -> RunningServer:
    started = RunningServer(server)
    running.callback(started.stop)
    return started


def _await_answer(server: WebServer, started: RunningServer, running: ExitStack) -> RunningServer:
    """Wait until a server is ready; start the plain server if our module cannot be loaded."""
    try:
        started.await_answer()
    except UiError:
        if server.plain is None or not started.is_broken_by_us():
            raise
        started = _start(server.plain, running)
        started.await_answer()
    return started


def _mlflow_server(tracking_uri: str, artifacts: Path | None, host: str, port: int) -> WebServer:
    uploads = ["--no-serve-artifacts"] if artifacts is None else ["--artifacts-destination", str(artifacts)]
    hosts = ",".join(allowed_hosts(port, _own_names(host)))
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", "1", "--allowed-hosts", hosts, *uploads]
    plain = WebServer(
        "MLflow",
        command,
        host,
        port,
        "--port",
        "/health",
        # Not as an argument: every user can see arguments, and the URI may contain a password.
        {**_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": tracking_uri},
        tracking_uri,
    )
    # Older installations lack the entry point; MLflow then uses its own defaults.
    if not entry_points(group="mlflow.app", name=_APP):
        return plain
    return replace(plain, command=[*command, "--app-name", _APP], custom=_MODULE, plain=plain)


def _own_names(host: str) -> tuple[str, ...]:
    """Return the names under which browsers reach a host: all names of this machine if it listens everywhere."""
    return (socket.gethostname(), socket.getfqdn()) if host in ("0.0.0.0", "::") else (host,)


def _tell(name: str, address: str, path: str, open_browser: bool, write: Callable[[str], None]) -> None:
    parts = urlsplit(address)
    clean = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    page = f"{clean.rstrip('/')}/{path}"
    write(f"{name} UI: {page}")
    if open_browser and _has_screen():
        webbrowser.open(page)


def _has_screen() -> bool:
    """Return whether there is a screen: without one, Python would start a text browser in the terminal."""
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Make SIGTERM end the block as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
