"""The MLflow UI on a workspace: a server for this machine only, which ends when its user is done."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn
from urllib.error import URLError
from urllib.parse import urlsplit

from .ports import is_taken, port_owner

START_SECONDS = 120.0
STOP_SECONDS = 10.0
_LOG_LINES = 15
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
# One web process, not ten; and nothing told to anyone.
_ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}


class UiError(Exception):
    """The UI cannot be served; the message says why and what to type."""


def study_page(experiment_id: str) -> str:
    """Path of a study's page in the MLflow UI: its runs, the trials folded under their parent.

    MLflow 3 opens on pages for language models unless it is asked for model training.
    """
    return f"#/experiments/{experiment_id}/runs?workflowType=machine_learning"


def serve_ui(
    tracking_uri: str,
    artifacts: Path | None,
    *,
    port: int,
    host: str = "127.0.0.1",
    open_browser: bool = True,
    study_url_path: str | None = None,
    write: Callable[[str], None] = print,
) -> None:
    """Serve the MLflow UI until interrupted; of a tracking server only the address is told.

    Ends normally on Ctrl-C and SIGTERM, with every process that it started.

    Args:
        tracking_uri: Of the tracking store.
        artifacts: Where uploads through the server go; without it the server takes none.
        port: To listen on.
        host: To listen on; requests must name it, or the loopback.
        open_browser: Whether to open the page where there is a screen.
        study_url_path: The page to open, see :func:`study_page`.
        write: Where messages go.

    Raises:
        UiError: The port is taken, or the server does not start or ends by itself.
    """
    if urlsplit(tracking_uri).scheme in ("http", "https"):
        _tell(tracking_uri, study_url_path, open_browser, write)
        return
    _require_free(host, port)
    address = f"http://{_reachable_name(host)}:{port}"
    with _ends_on_sigterm(), tempfile.TemporaryFile() as log:
        server = _start(tracking_uri, artifacts, host, port, log)
        try:
            write("Starting the MLflow UI ...")
            _await_answer(server, address, log, tracking_uri)
            _tell(address, study_url_path, open_browser, write)
            write("Ctrl-C ends it.")
            server.wait()
            _report_death(server, log, tracking_uri)
        except KeyboardInterrupt:
            write("The MLflow UI has ended.")
        finally:
            _stop(server)


def _require_free(host: str, port: int) -> None:
    try:
        taken = is_taken(host, port)
    except (OSError, OverflowError) as error:
        raise UiError(f"Cannot listen on {host}:{port}: {error}. Name another place with --host and --port.") from None
    if taken:
        owner = port_owner(port) or "another program, perhaps an MLflow UI that still runs"
        raise UiError(f"Port {port} is taken by {owner}. End it, or name another port: frostline ui --port {port + 1}")


def _start(tracking_uri: str, artifacts: Path | None, host: str, port: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    uploads = ["--no-serve-artifacts"] if artifacts is None else ["--artifacts-destination", str(artifacts)]
    hosts = ",".join(f"{name}:{port}" for name in dict.fromkeys((*_LOOPBACK, *_own_names(host))))
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    command += ["--workers", "1", "--allowed-hosts", hosts, *uploads]
    # By environment, not as an argument: arguments, and a password among them, are visible to every user.
    environment = {**os.environ, **_ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": tracking_uri}
    # A session of its own, so that Ctrl-C reaches us alone and the whole group can be ended.
    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _own_names(host: str) -> tuple[str, ...]:
    """Names under which browsers reach a host; all of this machine's where it listens everywhere."""
    return (socket.gethostname(), socket.getfqdn()) if host in ("0.0.0.0", "::") else (host,)


def _reachable_name(host: str) -> str:
    return "127.0.0.1" if host in ("0.0.0.0", "::") else host


def _await_answer(server: subprocess.Popen[bytes], address: str, log: IO[bytes], tracking_uri: str) -> None:
    # Environment proxies must not see requests to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            _report_death(server, log, tracking_uri)
        try:
            with opener.open(f"{address}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise UiError(f"The MLflow server did not answer within {START_SECONDS:.0f} s.\n{_last_lines(log, tracking_uri)}")


def _report_death(server: subprocess.Popen[bytes], log: IO[bytes], tracking_uri: str) -> NoReturn:
    said = _last_lines(log, tracking_uri)
    raise UiError(f"The MLflow server ended by itself (exit code {server.returncode}). Its last words:\n{said}")


def _last_lines(log: IO[bytes], tracking_uri: str) -> str:
    """The end of the server's log, without the password of the store."""
    log.seek(0)
    text = "\n".join(log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
    password = urlsplit(tracking_uri).password
    return text.replace(password, "***") if password else text


def _tell(address: str, study_url_path: str | None, open_browser: bool, write: Callable[[str], None]) -> None:
    parts = urlsplit(address)
    clean = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    page = f"{clean.rstrip('/')}/{study_url_path or ''}"
    write(f"MLflow UI: {page}")
    if open_browser and _has_screen():
        webbrowser.open(page)


def _has_screen() -> bool:
    """Without one, Python would start a text browser and take over the terminal."""
    return not sys.platform.startswith("linux") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


@contextmanager
def _ends_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and all that it started."""
    _signal_group(server, signal.SIGTERM)
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Also after a clean end, for children that outlived it.
        _signal_group(server, signal.SIGKILL)
        server.wait()


def _signal_group(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(server.pid, number)
    except (ProcessLookupError, PermissionError):
        return
