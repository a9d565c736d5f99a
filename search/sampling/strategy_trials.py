"""The trials of a strategy, kept up to date: a question about them costs the same after thousands of trials."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Container, Sequence
from itertools import compress
from operator import is_not

from optuna.trial import FrozenTrial, TrialState

from ..records import STRATEGY

# A sampler models at most so many trials of a strategy: the best, and the latest.
MODELED, BEST = 250, 25


def changes(before: Sequence[FrozenTrial], after: Sequence[FrozenTrial]) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """Return what is no longer among the trials of a study, and what is new; a changed trial is in both.

    A storage replaces the object of a trial that changes. Comparing objects reads nothing of them, and takes a small
    part of a millisecond for thousands.
    """
    if before is after:
        return [], []
    places = range(min(len(before), len(after)))
    changed = list(compress(places, map(is_not, before, after)))
    gone = [before[place] for place in changed] + list(before[len(places) :])
    return gone, [after[place] for place in changed] + list(after[len(places) :])


class StrategyTrials:
    """The trials of one strategy, as of the last :meth:`update`.

    Args:
        strategy: Name of the strategy.

    Attributes:
        strategy: The same.
    """

    def __init__(self, strategy: str) -> None:
        self.strategy = strategy
        self._seen: Sequence[FrozenTrial] = ()
        # By number; and those that are complete, the best first.
        self._own: list[FrozenTrial] = []
        self._ranked: list[tuple[float, int]] = []

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over what has changed among all trials of the study, which nobody changes in place."""
        gone, come = changes(self._seen, trials)
        self._seen = trials
        for trial in filter(self.owns, gone):
            place = self._place(trial.number)
            if place == len(self._own) or self._own[place] is not trial:
                # It had no strategy when it was seen: Optuna's storage in memory adds that to the object, too.
                continue
            del self._own[place]
            if _is_ranked(trial):
                del self._ranked[bisect_left(self._ranked, _rank(trial))]
        for trial in filter(self.owns, come):
            self._own.insert(self._place(trial.number), trial)
            if _is_ranked(trial):
                insort(self._ranked, _rank(trial))

    def owns(self, trial: FrozenTrial) -> bool:
        """Return whether a trial is of the strategy."""
        return trial.params.get(STRATEGY) == self.strategy

    def select(self, states: Container[TrialState] | None, most: int | None) -> list[FrozenTrial]:
        """Return trials by number: all, or of many the :data:`BEST` best and the latest.

        TPE compares its best trials, at most 25 of any number, with all others. So leaving out old ones that are not
        among the best keeps the good ones as they are, and a trial's cost flat: with all, it grows with every trial.

        Args:
            states: States of the trials; None for all.
            most: Maximum number of trials; None for all.
        """
        if most is None:
            return [trial for trial in self._own if states is None or trial.state in states]
        complete = states is None or TrialState.COMPLETE in states
        best = {number for _, number in self._ranked[:BEST]} if complete else set[int]()
        others = most - len(best)
        latest: list[FrozenTrial] = []
        for trial in reversed(self._own):
            if trial.number in best:
                best.remove(trial.number)
            elif states is not None and trial.state not in states:
                continue
            elif others:
                others -= 1
            else:
                break
            latest.append(trial)
        older = [self._own[self._place(number)] for number in sorted(best)]
        return older + latest[::-1]

    def _place(self, number: int) -> int:
        """Return the place of a trial."""
        return bisect_left(self._own, number, key=lambda trial: trial.number)


def _is_ranked(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE and bool(trial.values)


def _rank(trial: FrozenTrial) -> tuple[float, int]:
    return -trial.values[0], trial.number
