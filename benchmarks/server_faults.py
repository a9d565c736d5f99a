"""Faults of databases and of MLflow: locked, damaged, old, killed; answering 500, slowly or never."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.disk_faults import MIDST
from benchmarks.fault_scene import Act, Scene
from benchmarks.machine_faults import kill_self
from benchmarks.mlflow_proxy import Proxy, proxying

_HOLD = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA busy_timeout=20000")
connection.execute("BEGIN IMMEDIATE")
print(flush=True)
time.sleep(float(sys.argv[2]))
"""


def locked(database: str, seconds: float) -> Callable[[Scene], None]:
    """Another program holds the lock of a SQLite database for so long."""

    def scenario(scene: Scene) -> None:
        def act() -> None:
            command = [sys.executable, "-S", "-c", _HOLD, str(scene.root / database), str(seconds)]
            holder = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert holder.stdout is not None
            holder.stdout.readline()

        scene.search(at={MIDST: act}, patience=400.0)
        # A search that went on without MLflow may end before the lock does.
        with closing(sqlite3.connect(scene.root / database, timeout=2 * seconds)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()

    return scenario


def _stopped(scene: Scene) -> None:
    kill_self(signal.SIGKILL)(scene)


def _database_files(scene: Scene) -> list[Path]:
    return sorted(scene.root.glob("studies.db*"))


def absent(scene: Scene) -> None:
    """The database is away while the study is stopped, and comes back."""
    _stopped(scene)
    away = scene.folder / "away"
    away.mkdir()
    for file in _database_files(scene):
        file.rename(away / file.name)
    for command in ("resume", "status", "report", "doctor"):
        scene.run(command, scene.name)
    for file in _database_files(scene):
        file.unlink()
    for file in away.iterdir():
        file.rename(scene.root / file.name)


def damaged(offset: int, length: int) -> Callable[[Scene], None]:
    """Bytes of the database are overwritten while the study is stopped; then it is restored from a copy."""

    def scenario(scene: Scene) -> None:
        _stopped(scene)
        file = scene.root / "studies.db"
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        good = file.read_bytes()
        place = min(offset, len(good) // 2)
        file.write_bytes(good[:place] + b"\xa5" * length + good[place + length :])
        for command in ("resume", "status", "report", "doctor"):
            scene.run(command, scene.name)
        for each in _database_files(scene):
            each.unlink()
        file.write_bytes(good)

    return scenario


def restored(scene: Scene) -> None:
    """A finished study's database is replaced by a copy of its beginning."""
    old = scene.folder / "old.db"

    def act() -> None:
        source, target = sqlite3.connect(scene.root / "studies.db"), sqlite3.connect(old)
        source.backup(target)
        target.close()
        source.close()

    scene.search(at={MIDST: act})
    for file in _database_files(scene):
        file.unlink()
    shutil.copy(old, scene.root / "studies.db")
    scene.resume()


def postgres_restarted(scene: Scene) -> None:
    """The database server crashes and comes back."""
    from tests.servers import start_postgres

    server = scene.cleanup.enter_context(start_postgres(scene.folder / "postgres"))
    scene.storage = server.create_database("faults")
    marker = scene.folder / "in the midst"

    def beside(pid: int) -> None:
        if _appears(marker):
            server.restart()

    scene.search(at={MIDST: lambda: (marker.touch(), time.sleep(2))}, beside=beside)


def _appears(marker: Path) -> bool:
    deadline = time.monotonic() + 60
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return marker.exists()


def beside(*arguments: str) -> Callable[[Scene], None]:
    """Another command works on the same study at the same time."""

    def scenario(scene: Scene) -> None:
        marker, done = scene.folder / "in the midst", scene.folder / "done"

        def wait() -> None:
            marker.touch()
            _appears(done)

        def other(pid: int) -> None:
            if _appears(marker):
                scene.run(*(scene.name if word == "STUDY" else word for word in arguments))
            done.touch()

        scene.search(at={MIDST: wait}, beside=other)

    return scenario


class MlflowFaults:
    """What MLflow's server does in the midst of a search.

    Args:
        target: URI of a server that works.
    """

    def __init__(self, target: str) -> None:
        self._target = target

    def answers(self, kind: str, at_once: bool = False) -> Callable[[Scene], None]:
        """It answers so until the search has ended."""

        def scenario(scene: Scene) -> None:
            proxy = self._arrange(scene)
            act: Act = lambda: proxy.set(kind)  # noqa: E731
            scene.search(act if at_once else None, {} if at_once else {MIDST: act}, patience=300.0)
            proxy.set("good")
            scene.run("sync", scene.name)

        return scenario

    def hiccup(self, kind: str, seconds: float) -> Callable[[Scene], None]:
        """It answers so for some seconds."""

        def scenario(scene: Scene) -> None:
            proxy = self._arrange(scene)

            def act() -> None:
                proxy.set(kind)
                if os.fork() == 0:
                    time.sleep(seconds)
                    proxy.set("good")
                    os._exit(0)

            scene.search(at={MIDST: act})

        return scenario

    def _arrange(self, scene: Scene) -> Proxy:
        scene.real_sender = True
        proxy = scene.cleanup.enter_context(proxying(self._target, scene.folder / "proxy"))
        scene.more += ["--tracking-uri", proxy.uri]
        return proxy


def no_mlflow(uri: str) -> Callable[[Scene], None]:
    """There is no server, from the beginning."""

    def scenario(scene: Scene) -> None:
        scene.real_sender = True
        scene.more += ["--tracking-uri", uri]
        scene.search(patience=300.0)

    return scenario
