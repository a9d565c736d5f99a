"""Which strategy gets the next trial: how a study's budget is shared out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from ..records import STRATEGY

# Share of the budget that is spread evenly over the strategies; TPE spends the rest where it expects most.
FLOOR_SHARE = 0.6
# A strategy is behind if its best score is below the leader's by more than so many standard errors of their difference.
BEHIND_ERRORS = 2.0


def strategy_floor(budget: int, strategies: int) -> int:
    """Trials that every strategy gets at least."""
    return max(1, math.ceil(FLOOR_SHARE * budget / strategies))


def noise(score: float, images: int) -> float:
    """How far apart two shares of right answers on so many images may be by chance (two binomial proportions)."""
    return BEHIND_ERRORS * math.sqrt(2 * max(score * (1 - score), 1 / images) / images)


@dataclass(frozen=True)
class Allotment:
    """A floor of trials for every strategy (contract C7), in an order in which good scores are there early.

    First comes one trial of each strategy, controls aside; then their floors, what is cheap before what is dear; then
    the controls. A strategy that is behind by more than chance is owed the rest of its floor
    until nothing else is left of the budget. What is free goes where the sampler expects most.

    Attributes:
        budget: Trials of the study.
        costs: Of a trial of each strategy, in any unit; alike where none is given.
        controls: Strategies that others are compared with, and of which no lead is expected.
        images: That scores come from, which tells what of them is chance; None if nobody is ever behind.
    """

    budget: int
    costs: Mapping[str, float] = field(default_factory=dict)
    controls: Collection[str] = ()
    images: int | None = None

    def due(self, trials: Sequence[FrozenTrial], number: int, strategies: Sequence[str]) -> str | None:
        """The strategy whose floor is raised by a trial; None where the sampler is to choose.

        Where the budget is too small for all floors, nobody gets more than a fair share before the others have theirs.

        Args:
            trials: Of the study, whoever runs them.
            number: Of the trial.
            strategies: All of the study's.
        """
        others = [trial for trial in trials if trial.number != number]
        count = Counter(trial.params.get(STRATEGY) for trial in others)
        floor, fair_share = strategy_floor(self.budget, len(strategies)), self.budget // len(strategies)
        below = [name for name in strategies if count[name] < floor]
        first = [name for name in below if not count[name]]
        if expected := [name for name in first if name not in self.controls]:
            # Workers that begin at the same moment try different ones.
            choosing = sum(_chooses(trial) and trial.number < number for trial in others)
            return expected[min(choosing, len(expected) - 1)]
        due = [name for name in below if count[name] < fair_share] or below
        behind = self._behind(others)
        owed = sum(floor - count[name] for name in below)
        in_turn = [name for name in due if count[name] and name not in behind] or first
        if not in_turn and self.budget - len(others) > owed:
            return None
        # The one on which least will have been spent after one more trial.
        return min(in_turn or due, key=lambda name: (count[name] + 1) * self.costs.get(name, 1.0), default=None)

    def _behind(self, trials: Sequence[FrozenTrial]) -> set[str]:
        """Strategies whose best score so far is below the leader's by more than chance."""
        if self.images is None:
            return set()
        best: dict[str, float] = {}
        for trial in trials:
            # A complete trial's value is the best of its reports.
            scores = trial.values or list(trial.intermediate_values.values())
            if scores and (strategy := trial.params.get(STRATEGY)) is not None:
                best[strategy] = max(*scores, best.get(strategy, -math.inf))
        leader = max(best.values(), default=0.0)
        return {name for name, score in best.items() if score < leader - noise(leader, self.images)}


def _chooses(trial: FrozenTrial) -> bool:
    """Whether a worker has a trial and nobody knows yet of which strategy."""
    return trial.state == TrialState.RUNNING and STRATEGY not in trial.params
