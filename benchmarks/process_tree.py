"""A command of some checkout with all its processes: their memory as the kernel counts it, and when the first epoch
ended.

Linux alone: sizes are those of ``/proc/PID/smaps_rollup``. PSS divides what processes share between them, so that the
sum over processes is what the machine has given away. Its anonymous part is what no file holds: the system cannot take
it back.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.harness import clean_environment

# Seconds between two samples.
STEP = 0.2
MIB = 2**20
SEARCH, SENDER, OTHERS = "search", "sender", "others"
# Runs the command line, and writes the time at which the first trial reports its first epoch to Optuna.
_DRIVER = """
import importlib.abc, importlib.machinery, os, sys, time
sys.path.pop(0)  # the current folder, which `-c` adds and a command does not have

class Marking(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "optuna.trial._trial":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def marked(module):
            execute(module)
            report = module.Trial.report
            def timed(self, value, step):
                if not os.path.exists(MARK):
                    with open(MARK, "w") as file:
                        usage = os.times()
                        file.write(f"{time.time()} {usage.user + usage.system}")
                return report(self, value, step)
            module.Trial.report = timed
        spec.loader.exec_module = marked
        return spec

MARK = sys.argv.pop(1)
sys.meta_path.insert(0, Marking())
from frostline.dashboards.cli import main
sys.argv[0] = "frostline"
sys.exit(main())
"""


@dataclass(frozen=True)
class Sizes:
    """Memory of a process, or of several together, bytes.

    Attributes:
        pss: Resident, shared pages divided by the number of processes that share them.
        anonymous: The part of it that no file holds.
        resident: RSS: shared pages count fully.
    """

    pss: int = 0
    anonymous: int = 0
    resident: int = 0

    def __add__(self, other: Sizes) -> Sizes:
        return Sizes(self.pss + other.pss, self.anonymous + other.anonymous, self.resident + other.resident)

    def highest(self, other: Sizes) -> Sizes:
        """The larger of each."""
        return Sizes(max(self.pss, other.pss), max(self.anonymous, other.anonymous), max(self.resident, other.resident))


@dataclass
class Watched:
    """A command that ended.

    Attributes:
        wall: Seconds.
        processor: User and system time of all its processes, seconds.
        first_epoch: Seconds from its start to the end of the first epoch; None if there was none.
        first_processor: User and system time of the search process until then, seconds.
        peaks: Largest sizes, by kind of process; ``together`` is the largest sum.
        together: Largest sum over all processes at one moment.
    """

    wall: float = 0.0
    processor: float = 0.0
    first_epoch: float | None = None
    first_processor: float | None = None
    peaks: dict[str, Sizes] = field(default_factory=dict)
    together: Sizes = field(default_factory=Sizes)


def sizes_of(pid: int) -> Sizes:
    """Memory of a process; nothing for one that has ended."""
    found: dict[str, int] = {}
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, value, *_ = line.split()
            found[name.rstrip(":")] = int(value) * 1024
    return Sizes(found.get("Pss", 0), found.get("Pss_Anon", 0), found.get("Rss", 0))


def watch(checkout: Path, words: Sequence[str | Path], mark: Path, *, stop_at_first_epoch: bool = False) -> Watched:
    """Run `frostline` of a checkout and look at its processes until it ends.

    Args:
        checkout: A checkout with its own .venv.
        words: Arguments of the command.
        mark: File to write the time of the first epoch to; must not exist.
        stop_at_first_epoch: Whether to interrupt the command when its first epoch has ended.

    Raises:
        RuntimeError: The command failed; the message is what it printed.
    """
    watched, began = Watched(), time.time()
    before = os.times()
    log = mark.with_suffix(".log")
    with log.open("w") as output:
        command = [checkout / ".venv/bin/python", "-c", _DRIVER, mark, *words]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=clean_environment())
        root = psutil.Process(process.pid)
        while process.poll() is None:
            sample(root, watched)
            if stop_at_first_epoch and mark.exists():
                process.terminate()
                break
            time.sleep(STEP)
        process.wait()
    after = os.times()
    watched.wall = time.time() - began
    watched.processor = after.children_user - before.children_user + after.children_system - before.children_system
    if mark.exists():
        ended, spent = map(float, mark.read_text().split())
        watched.first_epoch, watched.first_processor = ended - began, spent
    if process.returncode != 0 and not stop_at_first_epoch:
        raise RuntimeError(log.read_text())
    return watched


def sample(root: psutil.Process, watched: Watched) -> None:
    """Take the sizes of all processes once."""
    now: dict[str, Sizes] = {}
    with suppress(psutil.Error):
        for process in [root, *root.children(recursive=True)]:
            kind = _kind(process, root)
            now[kind] = now.get(kind, Sizes()) + sizes_of(process.pid)
    for kind, sizes in now.items():
        watched.peaks[kind] = watched.peaks.get(kind, Sizes()).highest(sizes)
    watched.together = watched.together.highest(sum(now.values(), Sizes()))


def _kind(process: psutil.Process, root: psutil.Process) -> str:
    if process.pid == root.pid:
        return SEARCH
    return SENDER if "sender_process" in " ".join(process.cmdline()) else OTHERS
