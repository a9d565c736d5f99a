"""What each strategy was given and what it made of it, trial by trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..records import FINISHED, TrialRecord


@dataclass(frozen=True)
class Step:
    """The end of a trial.

    Attributes:
        trial: The trial.
        at_work: Seconds that the search had been at work; pauses between its sessions do not count.
        trials: Trials that its strategy had ended, this one included.
        seconds: Device seconds that its strategy had used.
        best: The highest validation score of the strategy's complete trials; None before the first.
    """

    trial: TrialRecord
    at_work: float
    trials: int
    seconds: float
    best: float | None


def spending(trials: Sequence[TrialRecord]) -> list[Step]:
    """One step a finished trial, in the order of their ending."""
    ended = [trial for trial in trials if trial.state in FINISHED and trial.finished is not None]
    ended.sort(key=lambda trial: (trial.finished, trial.number))
    last: dict[str | None, Step] = {}
    steps: list[Step] = []
    for trial in ended:
        before = last.get(trial.strategy)
        step = Step(
            trial=trial,
            at_work=_at_work(steps[-1] if steps else None, trial),
            trials=(before.trials if before else 0) + 1,
            seconds=(before.seconds if before else 0.0) + (trial.seconds or 0.0),
            best=_better(before.best if before else None, trial),
        )
        last[trial.strategy] = step
        steps.append(step)
    return steps


def _at_work(before: Step | None, trial: TrialRecord) -> float:
    """A gap longer than the trial that ends it was a pause, save for what it took to begin."""
    took = trial.seconds or 0.0
    if before is None or before.trial.finished is None or trial.finished is None:
        return took
    return before.at_work + min(took, (trial.finished - before.trial.finished).total_seconds())


def _better(best: float | None, trial: TrialRecord) -> float | None:
    if trial.state != "complete" or trial.score is None:
        return best
    return trial.score if best is None else max(best, trial.score)
