"""Everything that is not training: milliseconds a trial between one training and the next, by part.

    python benchmarks/speed_overhead.py --keep      # about ten minutes on two cores

Real searches; what they call is timed from outside, each call without the timed calls within it. `training` is what
is left inside `finetune`; `other` is what is left between the ends of two trials.
Head-only trials run alone, and in populations of eight.
"""

from __future__ import annotations

import functools
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import optuna

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import Report, Setting, at_most
from frostline.search.execution import leased_storage, logged_training, run_search, trials
from frostline.search.records import TrialRecord
from frostline.search.space import space
from frostline.search.study import Observer
from frostline.storage.tracking import tracker
from frostline.storage.workspace import Workspace

TRAINING, OTHER = "training", "other"
# Where a trial's time goes besides, by part. What a version of Frostline does not have is passed over.
CALLS: tuple[tuple[object, str, str], ...] = (
    (logged_training, "finetune", TRAINING),
    (trials, "finetune_together", TRAINING),
    (leased_storage.LeasedStorage, "claim", "claim a trial"),
    (leased_storage.LeasedStorage, "flush", "write to the study's database"),
    (space.Space, "suggest", "suggest"),
    (optuna.Trial, "set_user_attr", "notes in the study"),
    (optuna.Trial, "report", "report an epoch"),
    (optuna.Trial, "should_prune", "prune or not"),
    (optuna.Study, "tell", "tell"),
    (tracker.Tracker, "run", "MLflow: open the run"),
    (tracker.TrackedRun, "log_step", "MLflow: epochs"),
    (tracker.TrackedRun, "log_json", "MLflow: certificate"),
    (tracker.TrackedRun, "log_summary", "MLflow: summary"),
    (tracker.TrackedRun, "finish", "MLflow: end the run"),
    (trials, "free_memory", "garbage collection"),
)


class Parts:
    """Seconds by part, of the calls that are watched; a call within another counts as its own part only."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    def take(self) -> dict[str, float]:
        """What was counted since the last time."""
        taken, self.seconds = dict(self.seconds), defaultdict(float)
        return taken

    def timed(self, call: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(call)
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            self._inner.append(0.0)
            try:
                return call(*args, **kwargs)
            finally:
                whole = time.perf_counter() - started
                self.seconds[part] += whole - self._inner.pop()
                if self._inner:
                    self._inner[-1] += whole

        return run


@contextmanager
def watched() -> Iterator[Parts]:
    """Time the calls of :data:`CALLS` while within."""
    parts = Parts()
    with ExitStack() as stack:
        for owner, name, part in CALLS:
            if hasattr(owner, name):
                stack.enter_context(mock.patch.object(owner, name, parts.timed(getattr(owner, name), part)))
        yield parts


class Ledger(Observer):
    """Parts of each trial: from the end of the one before to its own.

    Of trials that run at the same time, each has the mean of theirs.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._last = time.perf_counter()
        self._batches: list[list[tuple[TrialRecord, dict[str, float]]]] = []
        self._running = 0

    @property
    def trials(self) -> list[tuple[TrialRecord, dict[str, float]]]:
        """Each with its seconds by part."""
        return [(trial, _mean([parts for _, parts in batch])) for batch in self._batches for trial, _ in batch]

    def study_started(self, settings: object, trials: list[TrialRecord]) -> None:
        self._parts.take()
        self._last = time.perf_counter()

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        if self._running == 0:
            self._batches.append([])
        self._running += 1

    def trial_finished(self, trial: TrialRecord) -> None:
        now = time.perf_counter()
        parts = self._parts.take()
        parts[OTHER] = now - self._last - sum(parts.values())
        self._last = now
        self._running -= 1
        self._batches[-1].append((trial, parts))


def _mean(every: list[dict[str, float]]) -> dict[str, float]:
    names = {name for parts in every for name in parts}
    return {name: sum(parts.get(name, 0.0) for parts in every) / len(every) for name in names}


def run(setting: Setting, folder: Path, strategies: tuple[str, ...], trials: int, population: int = 0) -> Ledger:
    """A search, timed."""
    request = setting.request(
        **{
            "trials": trials,
            "strategies": strategies,
            "finals_seeds": 1,
            "candidates": 1,
            "name": "overhead",
            "metric": "accuracy",
        },
        population=population,
    )
    with watched() as parts:
        ledger = Ledger(parts)
        run_search(request, Workspace(folder), ledger)
    return ledger


def overhead(parts: dict[str, float]) -> float:
    """Seconds of a trial that are not training."""
    return sum(seconds for part, seconds in parts.items() if part != TRAINING)


def describe(report: Report, heading: str, ledger: Ledger) -> None:
    """Milliseconds by part."""
    table = report.table(heading, "part", "ms a trial: median [lowest, highest]", "share of what is not training")
    every = [parts for _, parts in ledger.trials]
    total = sum(map(overhead, every))
    names = sorted({name for parts in every for name in parts}, key=lambda name: -sum(p.get(name, 0.0) for p in every))
    for name in names:
        each = [1000 * parts.get(name, 0.0) for parts in every]
        share = "" if name == TRAINING else f"{sum(each) / 1000 / total:.0%}"
        table.add(name, harness.spread(each), share)
    table.add("all but training", harness.spread([1000 * overhead(parts) for parts in every]), "100%")
    calls = sum(len(trial.curve) for trial, _ in ledger.trials) / len(ledger.trials)
    report.notes.append(f"{heading}: {len(every)} trials, {calls:.1f} epochs each on average.")


def measure(
    setting: Setting, *, head_trials: int = 30, mixed_trials: int = 15, strategies: tuple[str, ...] = ()
) -> Report:
    """A study of head-only trials and one of all strategies.

    Args:
        setting: On what.
        head_trials: Of the first.
        mixed_trials: Of the second.
        strategies: Of the second; all that usually compete if none are named.
    """
    report = Report("speed_overhead", "What a trial costs besides training.", setting)
    verdicts = report.table("Targets", "what", "measured", "n", "target", "met")
    with harness.scratch_folder() as folder:
        for name, population in (("alone", 1), ("in a population", 8)):
            ledger = run(setting, folder / name.replace(" ", "-"), ("feature_extraction",), head_trials, population)
            describe(report, f"Head-only trials {name}", ledger)
            each = [1000 * overhead(parts) for _, parts in ledger.trials]
            target = at_most(10)
            verdicts.add(f"ms a head-only trial {name}", harness.spread(each), len(each), target, target.judge(each))
        mixed = run(setting, folder / "mixed", strategies, mixed_trials)
        describe(report, "Trials of all strategies", mixed)
    long = [overhead(parts) / sum(parts.values()) for _, parts in mixed.trials if sum(parts.values()) > 2]
    if long:
        target = at_most(0.02)
        verdicts.add("share of trials over 2 s", harness.spread(long), len(long), target, target.judge(long))
    else:
        report.notes.append("No trial of all strategies took over 2 s: take more or larger images for their share.")
    over = statistics.median(overhead(parts) for _, parts in mixed.trials) * 1000
    report.notes.append(f"Trials of all strategies: {over:.0f} ms in the median besides training.")
    return report


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--head-trials", type=int, default=30, help="(%(default)s)")
    options.add_argument("--mixed-trials", type=int, default=15, help="(%(default)s)")
    arguments = options.parse_args()
    head, mixed = (3, 5) if arguments.quick else (arguments.head_trials, arguments.mixed_trials)
    harness.finish(measure(harness.setting(arguments), head_trials=head, mixed_trials=mixed), arguments)


if __name__ == "__main__":
    main()
