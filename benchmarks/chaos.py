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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.damage import Damage, judge
from benchmarks.harness import Report, Setting
from benchmarks.procedural import shaped
from frostline.objectives.errors import InvalidInputError
from frostline.search.study import Study
from frostline.storage.errors import StorageError
from frostline.storage.workspace import Workspace

NAME = "chaos"
LEASE_SECONDS = 2.0
_COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"
_SPACE = """
[shared]
epochs = {epochs}
patience = {epochs}
batch_size = 16
learning_rate = {{ low = 1e-3, high = 1e-2, log = true, default = 3e-3 }}
[partial]
freeze_depth = 2
[full]
[lp_ft]
probe_epochs = 4
"""
# How often each kind of incident is chosen.
WEIGHTS = {"SIGKILL": 5, "SIGTERM": 3, "SIGSTOP": 2, "supervisor": 1, "connections": 1, "full disk": 0.5}
TRAINING_SHARE = 0.4
DISK_BYTES, FULL_SECONDS = 400 * 10**6, 3.0


def write_photos(folder: Path, train: int, rng: np.random.Generator) -> Path:
    """Class folders of small shapes."""
    for split, count in (("train", train), ("test", 30)):
        images, labels = shaped(count, rng)
        for place, (image, label) in enumerate(zip(images, labels, strict=True)):
            file = folder / split / f"class{label}" / f"{place}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((image * 255).astype(np.uint8)).save(file)
    return folder


class Search:
    """A study that is searched from the command line, over and over until it is done.

    Args:
        folder: For data, space and workspace.
        storage: URL of the database; the workspace's own if None.
        workers: Processes.
        trials: First budget.
        epochs: Of a trial.
        more: Options of all its commands.
    """

    def __init__(
        self,
        folder: Path,
        storage: str | None,
        *,
        workers: int,
        trials: int,
        epochs: int,
        more: Sequence[str] = (),
    ) -> None:
        self.workspace = Workspace(folder / "workspace", storage)
        self.trials = trials
        self.resumed = 0
        self._more = ("--workers", str(workers), "--device", "cpu", *more)
        self._data = str(write_photos(folder / "photos", 90, np.random.default_rng(0)))
        self._space = folder / "space.toml"
        self._space.write_text(_SPACE.format(epochs=epochs))
        own = [str(Path(__file__).parents[1]), *sys.path]
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(own),
            "FROSTLINE_LEASE_SECONDS": str(LEASE_SECONDS),
            "FROSTLINE_CHECKPOINT_SECONDS": "0.5",
            **({"FROSTLINE_STORAGE": storage} if storage else {}),
        }
        self.output = folder / "output.txt"
        self._log = self.output.open("w")
        self.process = self._start(
            "search",
            *(self._data, "--name", NAME, "--space", str(self._space), "--trials", str(trials), "--seeds", "1"),
            *("--backbone", "benchmarks.small_cnn:create", "--weights", "none", "--population", "1"),
        )

    def go_on(self, more: int = 0) -> None:
        """Resume the study, with more trials."""
        self.trials += more
        self.resumed += 1
        self.process = self._start("resume", NAME, "--trials", str(self.trials))

    def slots(self) -> list[int]:
        """Processes that work just now."""
        listed = subprocess.run(
            ["ps", "-ww", "--ppid", str(self.process.pid), "-o", "pid=,stat=,args="], capture_output=True, text=True
        ).stdout
        rows = (line.split(None, 2) for line in listed.splitlines())
        return [int(row[0]) for row in rows if "frostline.search.execution.slot" in row[2] and row[1][0] not in "TZ"]

    def training(self) -> list[int]:
        """Those of them that have a trial."""
        # Its database may not be there yet, or have lost its connections.
        try:
            study = Study.load(NAME, self.workspace)
            held = {int(each.owner.split("/")[2]) for each in study.tickets.held()}
            study.close()
        except (InvalidInputError, StorageError, SQLAlchemyError):
            return []
        return [pid for pid in self.slots() if pid in held]

    def finish(self, seconds: float) -> None:
        """Let the study end; whatever cut it off, it is resumed.

        Raises:
            TimeoutError: It does not end.
        """
        deadline = time.monotonic() + seconds
        while self.process.wait(max(1.0, deadline - time.monotonic())) != 0:
            if time.monotonic() > deadline:
                raise TimeoutError(self.output.read_text()[-3000:])
            self.go_on()
        self._log.close()

    def end(self) -> None:
        """Whatever it does just now."""
        self.process.kill()
        self.process.wait()
        self._log.close()

    def _start(self, command: str, *arguments: str) -> subprocess.Popen[bytes]:
        shared = (*self._more, "--workspace", str(self.workspace.root))
        return subprocess.Popen(
            [sys.executable, "-c", _COMMAND, command, *arguments, *shared],
            env=self._environment,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


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
