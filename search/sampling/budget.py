"""The allocation of a study's budget: which strategy gets the next trial."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .tally import Tally

# Cost of an epoch of a head on cached features, as a share of an epoch of the whole network (benchmarks/results/).
HEAD_EPOCH = 0.02
# Share of the budget that is divided evenly among the strategies; TPE allocates the rest.
FLOOR_SHARE = 0.6
# A strategy is behind if its best score trails the leader's by more than this many standard errors of the difference.
MARGIN_STANDARD_ERRORS = 2.0


def strategy_floor(budget: int, strategies: int) -> int:
    """Return the minimum number of trials of every strategy.

    Examples:
        >>> from frostline.search.sampling.budget import strategy_floor
        >>> strategy_floor(30, strategies=5)
        4"""
    return max(1, math.ceil(FLOOR_SHARE * budget / strategies))


def score_margin(score: float, images: int) -> float:
    """Return how far two accuracies on ``images`` images may differ by chance (two binomial proportions).

    Examples:
        >>> from frostline.search.sampling.budget import score_margin
        >>> round(score_margin(0.9, images=100), 3)
        0.085"""
    return MARGIN_STANDARD_ERRORS * math.sqrt(2 * max(score * (1 - score), 1 / images) / images)


@dataclass(frozen=True)
class BudgetAllocation:
    """A minimum number of trials (floor) for every strategy (contract C7), in an order that gives good scores early.

    First, every strategy except the controls runs one trial; then these complete their floors, cheap strategies
    first; then the controls complete theirs. A strategy that is behind by more than chance completes its floor last.
    The sampler chooses the strategy of all other trials.

    Attributes:
        budget: Number of trials of the study.
        costs: Cost of a trial by strategy, in any unit; 1 for strategies that are not named.
        controls: Strategies that serve for comparison and are not expected to lead.
        images: Number of validation images, from which the chance in scores follows; None if no strategy counts as
            behind.
        one_each: Whether the controls too run a trial before any strategy runs its second: a search that may end at any
            time shall judge all of them.

    Examples:
        >>> from frostline.search.sampling import BudgetAllocation, Tally
        >>> BudgetAllocation(budget=10, controls=["scratch"]).next_strategy(Tally(), 0, ["scratch", "full", "partial"])
        'full'
    """

    budget: int
    costs: Mapping[str, float] = field(default_factory=dict)
    controls: Collection[str] = ()
    images: int | None = None
    one_each: bool = False

    def next_strategy(self, tally: Tally, number: int, strategies: Sequence[str]) -> str | None:
        """Return the strategy whose floor a trial counts towards; None if the sampler chooses.

        If the budget is too small for all floors, no strategy exceeds an equal share before the others have theirs.

        Args:
            tally: Tally of the study's trials, of all workers.
            number: Number of the trial.
            strategies: Names of all strategies of the study.
        """
        count = tally.count(number)
        floor, fair_share = strategy_floor(self.budget, len(strategies)), self.budget // len(strategies)
        below = [name for name in strategies if count[name] < floor]
        first = [name for name in below if not count[name]]
        expected = [name for name in first if name not in self.controls]
        if self.one_each:
            expected += [name for name in first if name in self.controls]
        if expected:
            # Workers that start at the same moment try different strategies.
            return expected[min(tally.choosing_before(number), len(expected) - 1)]
        due = [name for name in below if count[name] < fair_share] or below
        behind = self._behind(tally.best(number))
        owed = sum(floor - count[name] for name in below)
        in_turn = [name for name in due if count[name] and name not in behind] or first
        if not in_turn and self.budget - count.total() > owed:
            return None
        # The strategy with the lowest total cost after one more trial.
        return min(in_turn or due, key=lambda name: (count[name] + 1) * self.costs.get(name, 1.0), default=None)

    def _behind(self, best: Mapping[str, float]) -> set[str]:
        """Return the strategies whose best score so far trails the leader's by more than chance."""
        if self.images is None:
            return set()
        leader = max(best.values(), default=0.0)
        return {name for name, score in best.items() if score < leader - score_margin(leader, self.images)}
