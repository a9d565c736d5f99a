"""Many workers on one database: are the trials exact, and how long does a worker wait for it?

    python benchmarks/workers.py --keep                      # 64 workers, 5,000 trials of 5 ms, PostgreSQL
    python benchmarks/workers.py --sampler tpe --trials 500  # with the study's own sampler
    python benchmarks/workers.py --restart --keep workers_restart
    python benchmarks/workers.py --workers 8 --trials 200    # shorter

A trial is what the search's own is but for the training: it is claimed, asked for its parameters, reports an epoch
after 5 ms and is told. What is measured is the claim and the report (what begins, what the epoch gave and how it ended,
written) without the asking; one worker's first, on a study as long as a worker's share, then all. Workers are forked
from a process that has imported everything, so that 64 fit in 8 GB. With --restart the server is ended as by a crash in
the middle: every worker must wait for it and go on.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import numpy as np
import optuna
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, Table
from benchmarks.made_up_study import create_study
from frostline.objectives.errors import InvalidInputError
from frostline.search.execution.worker import Worker, open_worker
from frostline.search.records import STRATEGY
from frostline.search.study import STARTED, Study
from frostline.storage.workspace import Workspace

NAME = "workers"
UNITS = 5
MOST_TIMES_ONE = 10.0


@dataclass(frozen=True)
class Took:
    """Seconds of one trial.

    Attributes:
        number: Of the trial.
        worker: Place of its worker.
        ended: When, on the machine's clock.
        claim: Until it was claimed.
        ask: Until its parameters were drawn.
        report: Until it was written that it began, what it gave and how it ended.
    """

    number: int
    worker: int
    ended: float
    claim: float
    ask: float
    report: float

    @property
    def database(self) -> float:
        return self.claim + self.report


@dataclass(frozen=True)
class Ended:
    """The end of a worker.

    Attributes:
        processor: Seconds of its own that its trials took, without the server's.
        fault: What went wrong; empty if nothing did.
    """

    processor: float
    fault: str = ""


def run_worker(
    place: int, workspace: Workspace, options: argparse.Namespace, ready: Barrier, found: SimpleQueue[Any]
) -> None:
    """A process: once all are ready, toy trials until none are left."""
    began, fault = 0.0, ""
    try:
        study = Study.load(NAME, workspace)
        with open_worker(study) as worker:
            if options.sampler == "random":
                worker._optuna.sampler = optuna.samplers.RandomSampler(seed=place)
            ready.wait()
            began = time.process_time()
            for took in _trials(study, worker, place, options.milliseconds / 1000):
                found.put(took)
    except BaseException as error:
        fault = f"worker {place}: {type(error).__name__}: {error}"
        ready.abort()
    found.put(Ended(time.process_time() - began, fault))


def _trials(study: Study, worker: Worker, place: int, seconds: float) -> Iterator[Took]:
    rng = random.Random(place)
    space, strategies = study.settings.space, list(study.settings.strategies)
    while True:
        began = time.perf_counter()
        trials = worker.claim()
        claimed = time.perf_counter()
        if not trials:
            if study.tickets.exhausted():
                return
            time.sleep(study.workspace.timing.look)
            continue
        [trial] = trials
        # What was drawn may not fit together; it is a trial nevertheless.
        with suppress(InvalidInputError):
            space.suggest(trial, trial.suggest_categorical(STRATEGY, strategies))
        asked = time.perf_counter()
        trial.set_user_attr(STARTED, {"config": trial.params})
        worker.write()
        written = time.perf_counter()
        time.sleep(seconds)
        trained, score = time.perf_counter(), rng.random()
        trial.report(score, 0)
        worker.tell(trial, score, optuna.trial.TrialState.COMPLETE)
        ended = time.perf_counter()
        yield Took(
            trial.number, place, time.time(), claimed - began, asked - claimed, written - asked + ended - trained
        )


class Crew:
    """Workers of one study, each a process.

    Attributes:
        took: Of each trial, in the order in which they ended.
        ended: Of each worker.
        seconds: From when all were ready.
    """

    def __init__(self, workspace: Workspace, workers: int, options: argparse.Namespace) -> None:
        fork = multiprocessing.get_context("fork")
        self._found: SimpleQueue[Any] = fork.SimpleQueue()
        self._ready = fork.Barrier(workers + 1)
        shared = workspace, options, self._ready, self._found
        self._processes = [fork.Process(target=run_worker, args=(place, *shared)) for place in range(workers)]
        self.took: list[Took] = []
        self.ended: list[Ended] = []
        self.seconds = 0.0

    @property
    def faults(self) -> list[str]:
        return [ended.fault for ended in self.ended if ended.fault]

    def run(self, midway: int = 0, act: Callable[[], None] | None = None) -> None:
        """Have them work to the end. After so many trials ``act`` is called."""
        # As a session does. A collection of everything would copy each worker's share of the libraries, seconds long.
        gc.collect()
        gc.freeze()
        for process in self._processes:
            process.start()
        gc.unfreeze()
        with suppress(BrokenBarrierError):
            self._ready.wait()
        began = time.perf_counter()
        while len(self.ended) < len(self._processes):
            message = self._found.get()
            if isinstance(message, Ended):
                self.ended.append(message)
                continue
            self.took.append(message)
            if act is not None and len(self.took) == midway:
                act()
        self.seconds = time.perf_counter() - began
        for process in self._processes:
            process.join()


@contextmanager
def server(kind: str, folder: Path) -> Iterator[Any]:
    """A PostgreSQL server, or None for SQLite in the workspace."""
    if kind == "sqlite":
        yield None
        return
    from tests.servers import start_postgres

    with start_postgres(folder / "postgres") as running:
        yield running


def wrong(study: Study, crew: Crew) -> dict[str, int]:
    """What must be zero."""
    trials, budget = study.trials(), study.settings.planned_trials
    numbers = [trial.number for trial in trials]
    reported = [took.number for took in crew.took]
    return {
        "lost": budget - sum(trial.state == "complete" for trial in trials),
        "doubled": len(numbers) - len(set(numbers)) + len(reported) - len(set(reported)),
        "beyond the budget": sum(number >= budget for number in numbers),
        "still claimed": len(study.tickets.held()),
        "workers that failed": len(crew.faults),
    }


def milliseconds(values: list[float], share: float) -> float:
    return 1000 * float(np.quantile(values, share))


def _add(table: Table, workers: int, crew: Crew) -> None:
    for name in ("claim", "report", "database", "ask"):
        values = [getattr(took, name) for took in crew.took]
        shown = "claim + report" if name == "database" else name
        quantiles = [f"{milliseconds(values, share):.1f}" for share in (0.5, 0.95, 1.0)]
        table.add(workers, shown, len(values), *quantiles)


def measure(options: argparse.Namespace) -> tuple[Report, bool]:
    """One worker, then all; whether nothing was wrong."""
    claim = f"{options.workers} workers on one database: exact, and none waits for long."
    report = Report(NAME, claim, Setting(data="none", backbone="none", weights="none", image_size=32))
    columns = ("workers", "what", "n", "median ms", "p95 ms", "longest ms")
    times = report.table(f"Time of a trial besides its training, sampler {options.sampler}", *columns)
    with harness.scratch_folder() as folder, server(options.database, folder) as running:
        crews = []
        for workers in (1, options.workers):
            url = running.create_database(f"workers{workers}") if running else None
            trials = options.trials if workers > 1 else max(100, options.trials // options.workers)
            study = create_study(NAME, Workspace(folder / str(workers), url), trials, units=UNITS)
            study.close()
            crew = Crew(study.workspace, workers, options)
            restart = running.restart if options.restart and workers > 1 else None
            crew.run(trials // 2, restart)
            _add(times, workers, crew)
            crews.append(crew)
        checks = wrong(study, crew)
        if running:
            with study.database.session() as session:
                most = session.scalar(text("SELECT setting FROM pg_settings WHERE name = 'max_connections'"))
            report.notes.append(f"The server takes {most} connections, as it comes.")
        study.close()
    rates = report.table("Throughput", "workers", "trials/s", "CPU ms a trial, the server's aside")
    for crew in crews:
        processor = sum(ended.processor for ended in crew.ended) / len(crew.took)
        rates.add(len(crew.ended), f"{len(crew.took) / crew.seconds:.0f}", f"{1000 * processor:.1f}")
    table = report.table("What must be zero", "what", "count")
    for name, count in checks.items():
        table.add(name, count)
    alone, together = (milliseconds([took.database for took in crew.took], 0.95) for crew in crews)
    ratio = report.table("p95 of claim + report", "one worker, ms", "all, ms", "ratio", "target", "met")
    target = harness.at_most(MOST_TIMES_ONE)
    ratio.add(f"{alone:.1f}", f"{together:.1f}", f"{together / alone:.1f}", target, target.judge([together / alone]))
    if options.restart:
        # A worker ends without a fault only once the server has told it that no trial is left.
        went_on = sum(not ended.fault for ended in crews[-1].ended)
        report.notes.append(f"The server was restarted after half of the trials; {went_on} workers went on.")
    report.notes += crews[-1].faults[:5]
    return report, not any(checks.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64, help="(%(default)s)")
    parser.add_argument("--trials", type=int, default=5000, help="(%(default)s)")
    parser.add_argument("--milliseconds", type=float, default=5.0, help="of a training (%(default)s)")
    parser.add_argument("--sampler", choices=("random", "tpe"), default="random", help="(%(default)s)")
    parser.add_argument("--database", choices=("postgres", "sqlite"), default="postgres", help="(%(default)s)")
    parser.add_argument("--restart", action="store_true", help="restart the server in the middle")
    parser.add_argument("--keep", nargs="?", const="", metavar="NAME", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    # Of MLflow's and Optuna's: each would be said by every worker.
    os.environ["PYTHONWARNINGS"] = "ignore"
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    report, good = measure(options)
    harness.finish(report, options)
    sys.exit(not good)


if __name__ == "__main__":
    main()
