"""The tally of a study's trials by strategy: how many there are, and the best score of each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from optuna.trial import FrozenTrial, TrialState

from ..records import STRATEGY
from .strategy_trials import changes


class Tally:
    """The number of trials and the best score by strategy, as of the last :meth:`update`.

    Trials that have ended are counted once, however often there is an update.

    Args:
        trials: Trials of the study, of all workers.
    """

    def __init__(self, trials: Sequence[FrozenTrial] = ()) -> None:
        self._seen: Sequence[FrozenTrial] = ()
        self._open: dict[int, FrozenTrial] = {}
        self._count: Counter[str | None] = Counter()
        self._best: dict[str, float] = {}
        self.update(trials)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over what has changed among the trials."""
        gone, come = changes(self._seen, trials)
        if any(trial.state.is_finished() for trial in gone):
            # Another worker has taken a trial over that seemed to have ended.
            gone, come = [], list(trials)
            self._open, self._count, self._best = {}, Counter(), {}
        self._seen = list(trials)
        for trial in gone:
            del self._open[trial.number]
        for trial in come:
            if trial.state.is_finished():
                self._count[trial.params.get(STRATEGY)] += 1
            else:
                self._open[trial.number] = trial
        _raise(self._best, (trial for trial in come if trial.state.is_finished()))

    def others(self, number: int) -> list[FrozenTrial]:
        """Return the trials but one that have not ended."""
        return [trial for trial in self._open.values() if trial.number != number]

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
