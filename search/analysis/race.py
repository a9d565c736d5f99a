"""The race of the finals: which strategies get further seeds, and when the verdict is reached.

Every strategy is trained with two seeds. Those that are behind beyond chance leave the race; the others get twice as
many seeds in each further round, up to the limit, as long as the verdict is undecided and more seeds promise something:
that they decide, or that a better strategy comes to lead. Each round may use up a part of the 5 % of false claims
(group sequential testing; Lan & DeMets 1983), so looking several times claims no more than looking once. A part is kept
for those who let an undecided race go on with more seeds: it then ends with the claims of one race, not of two.

A race follows from its finals alone: every process that reads the same finals comes to the same round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from ..records import FinalRecord
from .comparison import CONFIDENCE, UNLIKELY, Comparing, Look, compare
from .verdict import INDIFFERENCE, Verdict, reach_verdict

# Of the chance of a false claim, the first r of R rounds may use up (r / R) to this power (Kim & DeMets 1987):
# few seeds say little of how much seeds vary, so the first round gets less than its share.
_SPENDING = 2
# A race that ends leaves this share of its chance of a false claim to one that goes on from it.
_KEPT = 0.2


@dataclass(frozen=True)
class RaceRules:
    """How many seeds the finals have.

    Attributes:
        seeds: Largest number of seeds of a strategy.
        racing: Whether strategies race; otherwise each is trained with all seeds.
        indifference: Difference of score that does not matter.
        earlier: Largest numbers of seeds with which the race ended before, ascending.
    """

    seeds: int
    racing: bool = True
    indifference: float = INDIFFERENCE
    earlier: tuple[int, ...] = ()

    @property
    def limits(self) -> tuple[int, ...]:
        """Return all largest numbers of seeds there have been."""
        return (*self.earlier, self.seeds)

    @property
    def rounds(self) -> tuple[int, ...]:
        """Return the number of seeds after each round.

        >>> RaceRules(8).rounds, RaceRules(3).rounds, RaceRules(8, racing=False).rounds
        ((2, 4, 8), (2, 3), (8,))
        >>> RaceRules(20, earlier=(3,)).rounds
        (2, 3, 6, 12, 20)
        """
        if not self.racing:
            return self.limits
        sizes = [min(2, self.limits[0])]
        for limit in self.limits:
            # The last round is not much smaller than the one before.
            while 3 * sizes[-1] <= limit:
                sizes.append(2 * sizes[-1])
            sizes += [limit] if sizes[-1] < limit else []
        return tuple(sizes)

    def foreseen(self, own: int, most: int) -> int:
        """Return how many seeds a strategy will have after the present round, as far as can be told before its end.

        Args:
            own: Number of its seeds so far.
            most: Largest number of seeds of any strategy so far.

        >>> [RaceRules(8).foreseen(own, most=3) for own in (2, 3)]
        [2, 4]
        """
        before = max((size for size in self.rounds if size < most), default=0)
        present = min((size for size in self.rounds if size >= most), default=own)
        # A strategy without a seed in a further round may have left the race.
        return max(own, present) if own > before or not before else own


@dataclass(frozen=True)
class RaceCosts:
    """What the trainings of the finals cost, in any unit that does not depend on the machine.

    Attributes:
        limit: What all finals may cost before a further round is worth less than a longer search.
        each: Cost of a training, by strategy.
        spent: Cost of what was trained beside the race, to choose the finalists.
    """

    limit: float
    each: Mapping[str, float]
    spent: float = 0.0

    def affords(self, seeds: Mapping[str, int]) -> bool:
        """Return whether so many seeds of each strategy are within the limit.

        >>> [RaceCosts(10, {"full": 2, "lp_ft": 1}, spent=3).affords({"full": 2, "lp_ft": seeds}) for seeds in (3, 4)]
        [True, False]
        """
        return self.spent + sum(count * self.each.get(strategy, 0.0) for strategy, count in seeds.items()) <= self.limit


@dataclass(frozen=True)
class Race:
    """A race as it stands.

    Attributes:
        verdict: The verdict; None while finals are missing.
        needed: How many seeds each strategy needs in the present round, of those that lack some.
    """

    verdict: Verdict | None
    needed: Mapping[str, int] = field(default_factory=dict)


def run_race(
    finals: Sequence[FinalRecord],
    strategies: Sequence[str],
    metric: str,
    rules: RaceRules,
    *,
    costs: RaceCosts | None = None,
    ended: bool = False,
    seed: int = 0,
    comparing: Comparing = compare,
) -> Race:
    """Follow a race as far as its finals reach.

    Args:
        finals: Finals on the same test images in the same order.
        strategies: Names of all strategies that have a finalist.
        metric: Name of a metric that a study can maximize.
        rules: How many seeds the finals have.
        costs: Ends the race where a further round would cost too much, until its seeds are raised; None for no limit.
        ended: Whether the race is known to have ended. It then ends where its finals do, though another version of
            these rules may have gone on.
        seed: Seed of the draws.
        comparing: Gives a comparison, as :func:`~frostline.search.analysis.comparison.compare` does.

    Examples:
        >>> from frostline.search.analysis import RaceRules, run_race
        >>> run_race([], ["full", "scratch"], "accuracy", RaceRules(8)).needed
        {'full': 2, 'scratch': 2}
    """
    known = {strategy: _of(strategy, finals) for strategy in strategies}
    if not known:
        return Race(None)
    left: frozenset[str] = frozenset()
    earlier: tuple[tuple[int, float], ...] = ()
    size = 0
    verdict: Verdict | None = None
    for times, limit in enumerate(rules.limits):
        before, after = ((1 - CONFIDENCE) * (1 - _KEPT**races) for races in (times, times + 1))
        rounds = [each for each in rules.rounds if size < each <= limit]
        for place, size in enumerate(rounds, 1):
            racing = [strategy for strategy in known if strategy not in left]
            if needed := {strategy: size for strategy in racing if len(known[strategy]) < size}:
                return Race(verdict) if ended and verdict is not None else Race(None, needed)
            counted = [final for strategy in known for final in known[strategy][: None if strategy in left else size]]
            decide = partial(
                reach_verdict,
                counted,
                metric,
                indifference=rules.indifference,
                left=left,
                seed=seed,
                comparing=comparing,
            )
            spent = before + (after - before) * (place / len(rounds)) ** _SPENDING
            verdict = decide(look=Look(1 - spent, earlier, max_seeds=limit))
            behind = {contender.strategy for contender in verdict.contenders if not contender.tied}
            goes_on = place < len(rounds) and verdict.undecided and _promises(verdict)
            if goes_on and ended:
                goes_on = all(len(of) >= rounds[place] for name, of in known.items() if name not in left | behind)
            if goes_on and costs is not None and not times:
                counts = {
                    name: min(len(of), size) if name in left | behind else rounds[place] for name, of in known.items()
                }
                goes_on = costs.affords(counts)
            if place < len(rounds) and not goes_on:
                # No look follows: this one may use up what is left.
                verdict = decide(look=Look(1 - after, earlier, max_seeds=limit))
            left |= {contender.strategy for contender in verdict.contenders if not contender.tied}
            earlier = (*earlier, (size, verdict.comparison.critical))
            if not goes_on:
                break
        if verdict is not None and not verdict.undecided:
            break
    return Race(verdict)


def _of(strategy: str, finals: Sequence[FinalRecord]) -> list[FinalRecord]:
    return sorted((final for final in finals if final.strategy == strategy), key=lambda final: final.seed)


def _promises(verdict: Verdict) -> bool:
    """Return whether further seeds may decide, or gain something."""
    outlook = verdict.comparison.outlook
    return outlook.decides > UNLIKELY or outlook.gain > verdict.indifference
