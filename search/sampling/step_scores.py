"""The scores that the complete trials of a strategy reported at each step, kept in order for their median."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator, Sequence

from optuna.trial import FrozenTrial, TrialState

from ..records import BATCH, STRATEGY
from .strategy_trials import changes


class StepScores:
    """What the complete trials of one strategy reported, as of the last :meth:`update`.

    Args:
        strategy: Name of the strategy.
    """

    def __init__(self, strategy: str) -> None:
        self._strategy = strategy
        self._seen: Sequence[FrozenTrial] = ()
        # Scores by step, the lowest first; and the trials of each batch by number.
        self._scores: defaultdict[int, list[float]] = defaultdict(list)
        self._batches: defaultdict[int | None, dict[int, FrozenTrial]] = defaultdict(dict)

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over what has changed among all trials of the study, which nobody changes in place."""
        gone, come = changes(self._seen, trials)
        self._seen = trials
        for trial in filter(self._counts, gone):
            del self._batches[trial.user_attrs.get(BATCH)][trial.number]
            for step, score in _reports(trial):
                _remove(self._scores[step], score)
        for trial in filter(self._counts, come):
            self._batches[trial.user_attrs.get(BATCH)][trial.number] = trial
            for step, score in _reports(trial):
                insort(self._scores[step], score)

    def _counts(self, trial: FrozenTrial) -> bool:
        return trial.params.get(STRATEGY) == self._strategy and trial.state == TrialState.COMPLETE

    def at(self, step: int, without: int | None) -> Sequence[float]:
        """Return the scores at a step, the lowest first.

        Args:
            step: Number of the epoch, or of the fold.
            without: Batch of trials to leave out; None for none.
        """
        scores = self._scores.get(step, [])
        if without is None or without not in self._batches:
            return scores
        scores = scores.copy()
        for trial in self._batches[without].values():
            for score in (score for at, score in _reports(trial) if at == step):
                _remove(scores, score)
        return scores


def median(scores: Sequence[float]) -> float:
    """Return the median of scores in order, with the rounding of :func:`numpy.percentile`, which Optuna uses."""
    low, high = scores[(len(scores) - 1) // 2], scores[len(scores) // 2]
    return high - (high - low) * 0.5


def _reports(trial: FrozenTrial) -> Iterator[tuple[int, float]]:
    """Yield the reports of a trial; NaN has no place in an order."""
    return ((step, score) for step, score in trial.intermediate_values.items() if not math.isnan(score))


def _remove(scores: list[float], score: float) -> None:
    del scores[bisect_left(scores, score)]
