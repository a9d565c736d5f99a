"""The history of a study's budget: cost and best score of each strategy, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import FINISHED, TrialRecord


@dataclass(frozen=True)
class Step:
    """The state of a strategy at the end of one of its trials.

    Attributes:
        trial: Record of the trial.
        at_work: Seconds that the search had run, without the pauses between its sessions.
        trials: Number of the strategy's finished trials, including this one.
        seconds: Device seconds that the strategy had used.
        best: Highest validation score of the strategy's trials that no pruner ended; None before the first.
    """

    trial: TrialRecord
    at_work: float
    trials: int
    seconds: float
    best: float | None


def budget_steps(trials: Sequence[TrialRecord]) -> list[Step]:
    """Return one step per finished trial, in the order in which the trials ended."""
    ended = [trial for trial in trials if trial.state in FINISHED and trial.finished is not None]
    ended.sort(key=lambda trial: (trial.finished, trial.number))
    last: dict[str | None, Step] = {}
    steps: list[Step] = []
    for trial in ended:
        before = last.get(trial.strategy)
        step = Step(
            trial=trial,
            at_work=_running_at(steps[-1] if steps else None, trial),
            trials=(before.trials if before else 0) + 1,
            seconds=(before.seconds if before else 0.0) + (trial.seconds or 0.0),
            best=_better(before.best if before else None, trial),
        )
        last[trial.strategy] = step
        steps.append(step)
    return steps


def _running_at(before: Step | None, trial: TrialRecord) -> float:
    """Return the seconds at work: a gap longer than the trial that ends it was a pause."""
    took = trial.seconds or 0.0
    if before is None or before.trial.finished is None or trial.finished is None:
        return took
    return before.at_work + min(took, (trial.finished - before.trial.finished).total_seconds())


def _better(best: float | None, trial: TrialRecord) -> float | None:
    if not trial.ranked or trial.score is None:
        return best
    return trial.score if best is None else max(best, trial.score)
