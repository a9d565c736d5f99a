"""A long run: does memory grow, do handles, does a trial take longer; what do 20,000 images and 10,000 trials cost?

    python benchmarks/long_run.py --keep                       # 2,000 trials in one process, and all else: 6 minutes
    python benchmarks/long_run.py --trials 300 --quick         # shorter

Processor time of a trial (user and system; the median of its strategy), the resident memory and the open files of this
process, after each hundred trials of a search as `frostline search` runs it, with MLflow in its own process as ever: a
tiny network on digits, one epoch a trial, two strategies. The same for a few trials on 20,000 images. Then a study of
10,000 trials is written from made-up records, and `frostline report` and `frostline status` read it.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
import psutil
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting
from benchmarks.made_up_study import make_study
from frostline.search.execution import run_search
from frostline.search.records import TrialRecord
from frostline.search.study import Observer, Request
from frostline.storage.tracking import configure_mlflow
from frostline.storage.workspace import Workspace

NAME = "long_run"
HUNDRED = 100
DIGITS = "sklearn:digits[0-2]@60"
MOST_MB, MOST_TIMES, REPORT_SECONDS, STATUS_SECONDS = 1.0, 1.2, 10.0, 1.0
_SPACE = """
[shared]
epochs = 1
batch_size = 16
learning_rate = { low = 1e-4, high = 1e-1, log = true, default = 3e-3 }
[feature_extraction]
[feature_extraction.head]
dropout = { low = 0.0, high = 0.5 }
[partial]
freeze_depth = { low = 4, high = 6 }
"""
_COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"


@dataclass(frozen=True)
class Sample:
    """This process after some trials.

    Attributes:
        trials: How many have ended.
        megabytes: Resident memory.
        handles: Open files.
        threads: Threads.
    """

    trials: int
    megabytes: float
    handles: int
    threads: int


class Sampling(Observer):
    """Looks at this process after each trial, and closely after every so many.

    Attributes:
        samples: What it saw when it looked closely.
        spent: The strategy of each trial, and the seconds of processor time since the trial before.

    Args:
        every: How many.
    """

    def __init__(self, every: int) -> None:
        self.samples: list[Sample] = []
        self.spent: list[tuple[str, float]] = []
        self._every = every
        self._process = psutil.Process()
        self._before = time.process_time()

    def trial_finished(self, trial: TrialRecord) -> None:
        assert trial.state in ("complete", "pruned"), trial.reason
        assert trial.strategy
        self.spent.append((trial.strategy, time.process_time() - self._before))
        if len(self.spent) % self._every == 0 or len(self.spent) == 1:
            self.samples.append(self._look())
            print(self.samples[-1], flush=True)
        self._before = time.process_time()

    def _look(self) -> Sample:
        gc.collect()
        memory = self._process.memory_info().rss / 2**20
        return Sample(len(self.spent), memory, self._process.num_fds(), self._process.num_threads())


def search(data: str, trials: int, folder: Path, every: int, name: str) -> Sampling:
    """Search with a tiny network; what this process was like meanwhile."""
    folder.mkdir(exist_ok=True)
    space = folder / "space.toml"
    space.write_text(_SPACE)
    watch = Sampling(every)
    request = Request(
        data=data,
        backbone="tiny_network:create",
        weights="none",
        image_size=32,
        name=name,
        trials=trials,
        finals_seeds=1,
        candidates=1,
        space=space,
        device="cpu",
        audit=False,
    )
    run_search(request, Workspace(folder / "workspace"), watch).close()
    return watch


def write_photos(folder: Path, count: int) -> Path:
    """Class folders of that many small images."""
    rng = np.random.default_rng(0)
    for label in range(4):
        (folder / f"class{label}").mkdir(parents=True)
    for place in range(count):
        label = place % 4
        pixels = rng.integers(0, 90, (32, 32, 3)) + 50 * label
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"class{label}" / f"{place}.bmp")
    return folder


def growth(samples: Sequence[Sample]) -> float:
    """Megabytes a hundred trials, by a straight line through all but the first two samples."""
    settled = samples[2:]
    slope = np.polyfit([each.trials for each in settled], [each.megabytes for each in settled], 1)[0]
    return float(HUNDRED * slope)


def medians(spent: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The median seconds of a trial, by strategy."""
    strategies = sorted({strategy for strategy, _ in spent})
    return {each: float(np.median([seconds for strategy, seconds in spent if strategy == each])) for each in strategies}


def again(data: str, folder: Path) -> list[tuple[str, float]]:
    """The seconds of the first hundred trials of a search in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_first_hundred, data, folder).result()


def _first_hundred(data: str, folder: Path) -> list[tuple[str, float]]:
    set_up()
    return search(data, HUNDRED, folder, HUNDRED, "again").spent[1:]


def add_run(report: Report, name: str, seen: Sampling, begun_later: Sequence[tuple[str, float]] = ()) -> bool:
    """Tables of a search; whether it is flat.

    A trial of one strategy costs more than another's, and the search chooses how many each gets: so trials are compared
    with those of their own strategy. A machine is not as fast at all times: so the last hundred trials are compared
    with the first ones, and with those of a search that began after it, as well.
    """
    samples = seen.samples
    strategies = medians(seen.spent)
    columns = *(f"CPU ms of {each}" for each in strategies), "resident MB", "open files", "threads"
    table = report.table(name, "trials", *columns)
    stretches = [medians(seen.spent[before.trials : after.trials]) for before, after in itertools.pairwise(samples)]
    for sample, stretch in zip(samples, [{}, *stretches], strict=True):
        costs = (f"{1000 * stretch[each]:.1f}" if each in stretch else "-" for each in strategies)
        table.add(
            sample.trials,
            *costs,
            f"{sample.megabytes:.1f}",
            sample.handles,
            sample.threads,
        )
    checks = report.table("Is it flat?", "of", "what", "found", "target", "met")
    grown = growth(samples)
    first, last = stretches[0], stretches[-1]
    after = medians(begun_later)
    if after:
        costs = (f"{1000 * after[each]:.1f}" if each in after else "-" for each in strategies)
        table.add(f"first {HUNDRED} of another search", *costs, "-", "-", "-")
    usual = {each: (first[each] + after.get(each, first[each])) / 2 for each in first}
    ratio = max(last[each] / usual[each] for each in usual.keys() & last.keys())
    # Once, two threads need the database at the same moment: the pool's second connection stays open.
    opened = samples[-1].handles - samples[len(samples) // 2].handles
    rows = [
        ("memory, MB a 100 trials", f"{grown:.2f}", f"< {MOST_MB:g}", grown < MOST_MB),
        (
            "CPU of a trial, last to first hundred, worst strategy",
            f"{ratio:.2f}",
            f"<= {MOST_TIMES:g}",
            ratio <= MOST_TIMES,
        ),
        ("open files more than half-way", opened, "<= 0", opened <= 0),
    ]
    for what, found, target, met in rows:
        checks.add(name, what, found, target, "yes" if met else "NO")
    return all(row[-1] for row in rows)


def processor_seconds(arguments: Sequence[str]) -> float:
    """User and system time of a command and its children, in seconds.

    Raises:
        subprocess.CalledProcessError: It fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", _COMMAND, *arguments], check=True, capture_output=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def add_reading(report: Report, folder: Path, trials: int) -> bool:
    """What reading a large study costs; whether that is little."""
    make_study("large", Workspace(folder), trials)
    table = report.table(f"Reading a study of {trials:,} trials", "command", "n", "CPU s", "target", "met")
    good = True
    for command, most in (("status", STATUS_SECONDS), ("report", REPORT_SECONDS)):
        spent = [processor_seconds([command, "large", "--workspace", str(folder)]) for _ in range(3)]
        target = harness.at_most(most)
        table.add(f"frostline {command}", len(spent), harness.spread(spent), target, target.judge(spent))
        good = good and target.judge(spent) == "yes"
    size = (folder / "reports/large.html").stat().st_size / 2**20
    report.notes.append(f"The report of {trials:,} trials is a file of {size:.1f} MB.")
    return good


def measure(options: argparse.Namespace) -> tuple[Report, bool]:
    """All parts that were asked for; whether each is within its target."""
    setting = Setting(
        data="digits", backbone="tiny_network", weights="none", image_size=32, threads=1, quick=options.quick
    )
    report = Report(NAME, "What a long run costs, and whether it costs more and more.", setting)
    good = True
    images, large = (400, 500) if options.quick else (20_000, 10_000)

    def trials(folder: Path) -> bool:
        seen = search(DIGITS, options.trials, folder / "long", HUNDRED, "long")
        return add_run(report, f"{options.trials:,} trials in one process", seen, again(DIGITS, folder / "again"))

    def many_images(folder: Path) -> bool:
        data = str(write_photos(folder / "photos", images))
        seen = search(data, options.image_trials, folder, max(1, options.image_trials // 6), "images")
        return add_run(report, f"{images:,} images", seen)

    parts: dict[str, Callable[[Path], bool]] = {
        "trials": trials,
        "images": many_images,
        "reading": lambda folder: add_reading(report, folder, large),
    }
    for name, part in parts.items():
        if options.only in (None, name):
            with harness.scratch_folder() as folder:
                good = part(folder) and good
    return report, good


def set_up() -> None:
    """Make this process ready to search."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests/backbones"))
    # What loads the network elsewhere imports it, too.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
    configure_mlflow()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="in one process (%(default)s)")
    parser.add_argument("--image-trials", type=int, default=300, help="on many images (%(default)s)")
    parser.add_argument("--only", choices=("trials", "images", "reading"), help="this part alone")
    parser.add_argument("--quick", action="store_true", help="few images and records: whether it runs")
    parser.add_argument("--keep", nargs="?", const="", metavar="NAME", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    set_up()
    report, good = measure(options)
    harness.finish(report, options)
    sys.exit(not good)


if __name__ == "__main__":
    main()
