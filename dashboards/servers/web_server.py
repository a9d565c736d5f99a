"""Local web servers, each in its own process group, which is stopped as a whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sysconfig
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, NoReturn
from urllib.error import URLError

from ...storage.urls import hide_secrets
from .ports import is_taken, port_owner

START_SECONDS = 120.0
STOP_SECONDS = 10.0
_LOG_LINES = 15
# Marks our part of a page.
MARK = "data-frostline"
# No file in the current folder stands in for a library: neither for Python nor for uvicorn, which MLflow runs.
_FROM_LIBRARIES_ALONE = {"PYTHONSAFEPATH": "1", "UVICORN_APP_DIR": sysconfig.get_path("purelib")}
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class UiError(Exception):
    """The UI cannot be served; the message says why and what to do."""


@dataclass(frozen=True)
class WebServer:
    """The description of a web server to start.

    Attributes:
        name: Name of the UI, for messages.
        command: Command to run; every user can see it, so it must not contain secrets.
        host: Address to listen on.
        port: Port to listen on.
        port_option: Command-line option that sets the port.
        ready: Path that answers once the server is ready.
        environment: Environment variables added to the current ones.
        database: URL passed by environment, whose secrets are removed from messages.
        custom: Name of our module that the server loads.
        plain: Server without that module, to start instead if the module cannot be loaded.
        caution: What to know before reading its pages.

    Examples:
        >>> from frostline.dashboards.servers.web_server import WebServer
        >>> WebServer("MLflow", ["mlflow", "server"], "0.0.0.0", 5000, "--port", "/health").address
        'http://127.0.0.1:5000'
    """

    name: str
    command: Sequence[str]
    host: str
    port: int
    port_option: str
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    custom: str = ""
    plain: WebServer | None = None
    caution: str = ""

    @property
    def address(self) -> str:
        """Base URL for browsers of this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    def require_free(self) -> None:
        """Check that the server can listen on its address and port.

        Raises:
            UiError: It cannot; the message names the process that holds the port.
        """
        try:
            taken = is_taken(self.host, self.port)
        except (OSError, OverflowError) as error:
            place = f"{self.host}:{self.port}"
            raise UiError(f"Cannot listen on {place}: {error}. Choose another port with {self.port_option}.") from None
        if taken:
            owner = port_owner(self.port) or "another program, perhaps an MLflow UI that still runs"
            other = f"frostline ui {self.port_option} {self.port + 1}"
            raise UiError(f"Port {self.port} is taken by {owner}. End it, or choose another port: {other}")


def allowed_hosts(port: int, names: Sequence[str] = ()) -> list[str]:
    """Return the allowed values of a request's Host header: loopback and further names, with the port.

    This protects against DNS rebinding, where the name of another site resolves to this machine.

    Args:
        port: Port of the server.
        names: Further host names.

    Examples:
        >>> from frostline.dashboards.servers.web_server import allowed_hosts
        >>> allowed_hosts(5000, ["gpu-3"])
        ['127.0.0.1:5000', 'localhost:5000', '[::1]:5000', 'gpu-3:5000']
    """
    return [f"{name}:{port}" for name in dict.fromkeys((*_LOOPBACK, *names))]


class RunningServer:
    """A started web server.

    Args:
        server: Description of the server.
    """

    def __init__(self, server: WebServer) -> None:
        self._server = server
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (stop closes it)
        # A new session, so that Ctrl-C reaches only this process and the whole group can be stopped.
        self._process = subprocess.Popen(
            server.command,
            env={**os.environ, **_FROM_LIBRARIES_ALONE, **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def await_answer(self) -> None:
        """Wait until the server is ready.

        Raises:
            UiError: The server exits by itself, or does not answer within two minutes.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.require_alive()
            try:
                self._get(self._server.ready)
                return
            except (URLError, OSError):
                time.sleep(0.2)
        raise UiError(
            f"The {self._server.name} server did not answer within {START_SECONDS:.0f} s.\n{self._last_lines()}"
        )

    def is_customized(self) -> bool:
        """Whether the start page contains our part."""
        try:
            return MARK.encode() in self._get("/")
        except (URLError, OSError):
            return False

    def is_broken_by_us(self) -> bool:
        """Whether the server has exited because of our module."""
        custom = self._server.custom
        return bool(custom) and self._process.poll() is not None and custom in self._read_log()

    def _get(self, path: str) -> bytes:
        # Bypass proxies of the environment for requests to this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self._server.address + path, timeout=2) as answer:
            return answer.read()

    def require_alive(self) -> None:
        """Check that the server is running.

        Raises:
            UiError: The server has exited; the message contains the end of its log.
        """
        if self._process.poll() is not None:
            self._report_death()

    def _report_death(self) -> NoReturn:
        raise UiError(
            f"The {self._server.name} server exited (exit code {self._process.returncode}). "
            f"The end of its log:\n{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        """Return the end of the log, without secrets of the database URL."""
        return hide_secrets("\n".join(self._read_log().splitlines()[-_LOG_LINES:]), self._server.database)

    def _read_log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def stop(self) -> None:
        """Stop the server and all processes that it started."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also after a clean exit, for children that are still running.
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
