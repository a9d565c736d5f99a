"""Web servers of this machine: each a process group of its own, which is ended with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
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
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class UiError(Exception):
    """The UI cannot be served; the message says why and what to type."""


@dataclass(frozen=True)
class WebServer:
    """How to start a web server.

    Attributes:
        name: Of what it serves, for messages.
        command: What to run; every user sees it, so no secret may be in it.
        host: Where it listens.
        port: Likewise.
        port_option: By which a user moves it to another port.
        ready: Path that answers once it can be used.
        environment: Added to our own.
        database: URL that the environment tells it, whose password must not be shown.
    """

    name: str
    command: Sequence[str]
    host: str
    port: int
    port_option: str
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict)
    database: str = ""

    @property
    def address(self) -> str:
        """Of its pages, for browsers of this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    def require_free(self) -> None:
        """Make sure that it can listen where it shall.

        Raises:
            UiError: It cannot; who holds the port is named.
        """
        try:
            taken = is_taken(self.host, self.port)
        except (OSError, OverflowError) as error:
            place = f"{self.host}:{self.port}"
            raise UiError(f"Cannot listen on {place}: {error}. Name another port with {self.port_option}.") from None
        if taken:
            owner = port_owner(self.port) or "another program, perhaps an MLflow UI that still runs"
            other = f"frostline ui {self.port_option} {self.port + 1}"
            raise UiError(f"Port {self.port} is taken by {owner}. End it, or name another port: {other}")


def allowed_hosts(port: int, names: Sequence[str] = ()) -> list[str]:
    """What a request's Host header may be: the loopback and further names, with the port.

    Pages of other sites that have their own name point at this machine (DNS rebinding) send another.
    """
    return [f"{name}:{port}" for name in dict.fromkeys((*_LOOPBACK, *names))]


class RunningServer:
    """A web server that was started.

    Args:
        server: How.
    """

    def __init__(self, server: WebServer) -> None:
        self._server = server
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (stop closes it)
        # A session of its own, so that Ctrl-C reaches us alone and the whole group can be ended.
        self._process = subprocess.Popen(
            server.command,
            env={**os.environ, **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def await_answer(self) -> None:
        """Wait until it can be used.

        Raises:
            UiError: It ends by itself, or does not answer.
        """
        # Environment proxies must not see requests to this machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self.require_alive()
            try:
                with opener.open(self._server.address + self._server.ready, timeout=2):
                    return
            except (URLError, OSError):
                time.sleep(0.2)
        raise UiError(
            f"The {self._server.name} server did not answer within {START_SECONDS:.0f} s.\n{self._last_lines()}"
        )

    def require_alive(self) -> None:
        """Raises UiError, with its last words, if it has ended."""
        if self._process.poll() is not None:
            self._report_death()

    def _report_death(self) -> NoReturn:
        raise UiError(
            f"The {self._server.name} server ended by itself (exit code {self._process.returncode}). "
            f"Its last words:\n{self._last_lines()}"
        )

    def _last_lines(self) -> str:
        """The end of its log, without the password of its database."""
        self._log.seek(0)
        text = "\n".join(self._log.read().decode(errors="replace").splitlines()[-_LOG_LINES:])
        return hide_secrets(text, self._server.database)

    def stop(self) -> None:
        """End it and all that it started."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also after a clean end, for children that outlived it.
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._log.close()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return
