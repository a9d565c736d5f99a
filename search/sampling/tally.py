"""The tally of a study's trials by strategy: how many there are, and the best score of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from ..records import STRATEGY
from .ended_trials import EndedTrials


class Tally(EndedTrials):
    """The number of trials and the best score by strategy, as of the last :meth:`update`.

    Trials that have ended are counted once, however often there is an update.

    Args:
        trials: Trials of the study, of all workers.
    """

    def __init__(self, trials: Sequence[FrozenTrial] = ()) -> None:
        super().__init__()
        self.forget()
        self.update(trials)

    def forget(self) -> None:
        self._count: Counter[str | None] = Counter()
        self._best: dict[str, float] = {}

    def take(self, trial: FrozenTrial) -> None:
        self._count[trial.params.get(STRATEGY)] += 1
        _raise(self._best, [trial])

    def count(self, number: int) -> Counter[str | None]:
        """Return the number of trials by strategy, without one that has not ended."""
        return self._count + Counter(trial.params.get(STRATEGY) for trial in self.others(number))

    def best(self, number: int) -> dict[str, float]:
        """Return the best score by strategy, without one trial that has not ended."""
        best = dict(self._best)
        _raise(best, self.others(number))
        return best

    def choosing_before(self, number: int) -> int:
        """Return how many earlier trials have no strategy yet."""
        return sum(chooses(trial) and trial.number < number for trial in self._open.values())


def _raise(best: dict[str, float], trials: Iterable[FrozenTrial]) -> None:
    """Raise the best scores to those of some trials."""
    for trial in trials:
        # A complete trial's value is the best of its reports.
        scores = trial.values or list(trial.intermediate_values.values())
        if scores and (strategy := trial.params.get(STRATEGY)) is not None:
            best[strategy] = max(*scores, best.get(strategy, -math.inf))


def chooses(trial: FrozenTrial) -> bool:
    """Return whether a running trial has no strategy yet, as far as this process knows."""
    return trial.state == TrialState.RUNNING and STRATEGY not in trial.params
