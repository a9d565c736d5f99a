"""Kills, suspensions, cut connections, by the hundred: is a trial lost, doubled, left running, or not what it was?

    python benchmarks/chaos.py --keep                             # 200 of them on SQLite, 4 workers: about 15 minutes
    python benchmarks/chaos.py --database postgres --keep chaos_postgres
    python benchmarks/chaos.py --kills 20 --trials 8              # shorter

A search with several workers runs from the command line; at random moments one of its workers is killed (SIGKILL), told
to end (SIGTERM), suspended for longer than its lease (SIGSTOP, SIGCONT), its supervisor is killed and the study
resumed, or the workspace's disk is full for a while (where this user may mount one); on PostgreSQL all connections are
cut, too. While incidents are left, a search that ends gets more trials. In
the end every trial is trained once more, alone and undisturbed, and must have the very same curve (one thread each).
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import create_engine, text

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.damage import Damage, judge
from benchmarks.harness import Report, Setting
from benchmarks.resumed_search import LEASE_SECONDS, NAME, Search
from frostline.search.study import Study

# How often each kind of incident is chosen.
WEIGHTS = {"SIGKILL": 5, "SIGTERM": 3, "SIGSTOP": 2, "supervisor": 1, "connections": 1, "full disk": 0.5}
TRAINING_SHARE = 0.4
DISK_BYTES, FULL_SECONDS = 400 * 10**6, 3.0


class Monkey:
    """What goes wrong.

    Args:
        search: What it happens to.
        rng: Chooses.
        weights: How often each kind is chosen.
        others: What else can happen here, by kind.
    """

    def __init__(
        self,
        search: Search,
        rng: random.Random,
        weights: Mapping[str, float],
        others: Mapping[str, Callable[[], None]],
    ) -> None:
        self._search = search
        self._rng = rng
        elsewhere = {"connections", "full disk"} - others.keys()
        self._weights = {kind: weight for kind, weight in weights.items() if kind not in elsewhere}
        self._others = others
        self.done: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self._next = self._draw()

    def _draw(self) -> tuple[str, bool, float]:
        """A kind, whether it waits for a training, as a slot may start for most of its life, and which slot it hits."""
        [kind] = self._rng.choices(list(self._weights), list(self._weights.values()))
        return kind, self._rng.random() < TRAINING_SHARE, self._rng.random()

    def act(self) -> bool:
        """The next incident; False if there was nothing that it could happen to, and it stays the next."""
        kind, waits, place = self._next
        trains = self._search.training()
        slots = trains if waits else self._search.slots()
        if not slots:
            return False
        self.hits[kind] += bool(trains)
        if kind == "supervisor":
            os.kill(self._search.process.pid, signal.SIGKILL)
            self._search.process.wait()
            self._search.go_on()
        elif kind in self._others:
            self._others[kind]()
        else:
            self._signal(slots[int(place * len(slots))], kind)
        self.done[kind] += 1
        self._next = self._draw()
        return True

    @staticmethod
    def _signal(pid: int, kind: str) -> None:
        try:
            os.kill(pid, getattr(signal, kind))
        except ProcessLookupError:
            return
        if kind == "SIGSTOP":
            threading.Timer(1.5 * LEASE_SECONDS, _wake, [pid]).start()


def _wake(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def connections_of(url: str) -> Callable[[], None]:
    """Cuts all connections to a PostgreSQL database, as a failing network would."""

    def cut() -> None:
        engine = create_engine(url)
        with engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        engine.dispose()

    return cut


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None] | None]:
    """A disk for a folder, and what fills it for some seconds; None where this user may not mount one."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    mounted = sys.platform == "linux" and subprocess.run(mount, capture_output=True).returncode == 0

    def fill() -> None:
        ballast = folder / "ballast"
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while file.write(bytes(2**16)):
                pass
        time.sleep(FULL_SECONDS)
        ballast.unlink()

    try:
        yield fill if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disturb(
    folder: Path, storage: str | None, fill: Callable[[], None] | None, options: argparse.Namespace
) -> tuple[Search, Monkey, float]:
    """A search with all that goes wrong, to its end."""
    began = time.monotonic()
    search = Search(folder, storage, workers=options.workers, trials=options.trials, epochs=options.epochs)
    others = {"full disk": fill} if fill else {}
    if storage and storage.startswith("postgresql"):
        others["connections"] = connections_of(storage)
    rng = random.Random(options.seed)
    weights = {options.only: 1.0} if options.only else WEIGHTS
    monkey = Monkey(search, random.Random(options.seed), weights, others)
    while sum(monkey.done.values()) < options.kills:
        time.sleep(rng.uniform(0.3, 1.8))
        status = search.process.poll()
        if status is not None:
            search.go_on(more=options.trials if status == 0 else 0)
        monkey.act()
    search.finish(600.0)
    return search, monkey, time.monotonic() - began


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str | None]:
    """URL of an empty database; None for the workspace's own."""
    if kind == "sqlite":
        yield None
        return
    from tests.servers import start_postgres

    with start_postgres(folder / "postgres") as server:
        yield server.create_database("chaos")


def measure(options: argparse.Namespace) -> tuple[Report, Damage]:
    """Disturb a search, and look at the damage."""
    claim = "What is wrong with a study after its workers were killed at random."
    report = Report("chaos", claim, Setting(data="shapes", backbone="small_cnn", weights="none", image_size=32))
    with (
        harness.scratch_folder() as folder,
        small_disk(folder / "workspace") as fill,
        database(options.database, folder) as storage,
    ):
        search, monkey, seconds = disturb(folder, storage, fill, options)
        damage = judge(NAME, search.workspace, search.trials)
        study = Study.load(NAME, search.workspace)
        failed = [f"Trial {trial.number} failed: {trial.reason}" for trial in study.trials() if trial.state == "failed"]
        study.close()
    incidents = report.table("Incidents", "kind", "times", "while a trial trained")
    for kind, count in sorted(monkey.done.items()):
        incidents.add(kind, count, monkey.hits[kind])
    table = report.table("Damage", "what", "count")
    for field in dataclasses.fields(damage):
        table.add(field.name, getattr(damage, field.name))
    report.notes.append(
        f"{search.trials} trials on {options.database} with {options.workers} workers in {seconds:.0f} s; the search "
        f"was resumed {search.resumed} times; leases of {LEASE_SECONDS:g} s."
    )
    report.notes += failed
    if fill is None:
        report.notes.append("This user may not mount a disk to fill: a full disk was not among the incidents.")
    return report, damage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="incidents of all kinds (%(default)s)")
    parser.add_argument("--workers", type=int, default=4, help="(%(default)s)")
    parser.add_argument("--trials", type=int, default=24, help="budget, and what a finished search gets (%(default)s)")
    parser.add_argument("--epochs", type=int, default=40, help="of a trial (%(default)s)")
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=tuple(WEIGHTS), help="this kind of incident alone")
    parser.add_argument("--keep", nargs="?", const="", metavar="NAME", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    report, damage = measure(options)
    harness.finish(report, options)
    sys.exit(any(dataclasses.astuple(damage)))


if __name__ == "__main__":
    main()
