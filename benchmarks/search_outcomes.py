"""What many replays of a search find, and how surely: shares, gaps and seconds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from benchmarks.arms import Arms
from benchmarks.policies import Policy
from benchmarks.replay import Preference, Trace, earlier, replay
from benchmarks.stopping_rules import StoppingRule, Unstopped

# Strategies this close to the best on the test images are as good as it.
TIE = 0.01
# The answer's finalist must come this close to the best known test score.
NEAR = 0.005
BUDGETS = (40.0, 80.0, 160.0)

Floats = NDArray[np.float64]


class Search(NamedTuple):
    """A search to replay.

    Attributes:
        policy: Creates the policy of a replay, from what is searched and a seed.
        rule: Stops trials.
        plans: Whether the policy looks at what is left of the budget: then each budget needs a replay of its own.
        share: Share of the replays, for a slow one.
    """

    policy: Callable[[Arms, int], Policy]
    rule: StoppingRule = Unstopped()
    plans: bool = True
    share: float = 1.0


@dataclass(frozen=True)
class Outcomes:
    """What replays found, of A datasets and backbones, R replays of each and B budgets.

    Attributes:
        named: Whether the strategy with the best finals is the best one or as good, (A, R, B).
        leads: Whether the strategy with the best validation score is, (A, R, B).
        gap: By how much its finalist is worse than the best known configuration, (A, R, B).
        trials: Number of trials that ended, (A, R, B).
        seconds: Seconds until the gap was small, with the largest budget; infinite if it never was, (A, R).
    """

    named: Floats
    leads: Floats
    gap: Floats
    trials: Floats
    seconds: Floats

    def means(self, name: str) -> Floats:
        """Mean over replays of an attribute, of each dataset and backbone, (A, B)."""
        return getattr(self, name).mean(axis=1)

    @property
    def capped(self) -> Floats:
        """Mean seconds of each dataset and backbone, the largest budget where the gap never was small, (A,)."""
        return np.minimum(self.seconds, BUDGETS[-1]).mean(axis=1)


def measure(search: Search, arms: Sequence[Arms], replays: int, preference: Preference = earlier) -> Outcomes:
    """Replay a search many times on each dataset and backbone."""
    rows, seconds = [], []
    for each in arms:
        for seed in range(replays):
            traces = _traces(search, each, seed)
            rows.append(
                [_judged(each, trace, budget, preference) for trace, budget in zip(traces, BUDGETS, strict=True)]
            )
            seconds.append(traces[-1].reached(each.best - NEAR))
    found = np.array(rows, float).reshape(len(arms), replays, len(BUDGETS), 4)
    named, leads, gap, trials = np.moveaxis(found, -1, 0)
    return Outcomes(named, leads, gap, trials, np.reshape(seconds, (len(arms), replays)))


def _traces(search: Search, arms: Arms, seed: int) -> list[Trace]:
    """Return a replay for each budget."""

    def run(budget: float) -> Trace:
        return replay(arms, search.policy(arms, seed), search.rule, budget=budget, seed=seed)

    return [run(budget) for budget in BUDGETS] if search.plans else [run(BUDGETS[-1])] * len(BUDGETS)


def _judged(arms: Arms, trace: Trace, budget: float, preference: Preference) -> tuple[float, ...]:
    answer = trace.answer(budget, preference)
    trials = sum(trained.ended <= budget for trained in trace.trials)
    if answer is None:
        return 0.0, 0.0, arms.best - min(arms.worths.values()), trials
    bar = arms.best - TIE
    return arms.worths[answer.strategy] >= bar, arms.worths[answer.leader] >= bar, arms.best - answer.worth, trials


def pooled(
    statistic: Callable[[NDArray[np.intp]], Floats], count: int, draws: int = 2000
) -> tuple[Floats, Floats, Floats]:
    """Return a statistic of all datasets and backbones, and its interval (95 %) from resampling them.

    Args:
        statistic: Of the datasets and backbones with these numbers, (draws, A).
        count: Number of datasets and backbones.
        draws: Number of draws.
    """
    picks = np.random.default_rng(0).integers(count, size=(draws, count))
    low, high = np.percentile(statistic(picks), (2.5, 97.5), axis=0)
    return statistic(np.arange(count)[None])[0], low, high


def interval(values: tuple[float, float, float], scale: float = 100, digits: int = 0) -> str:
    """Return an estimate with its interval as text."""
    middle, low, high = (f"{scale * value:.{digits}f}" for value in values)
    return f"{middle} [{low}, {high}]"


def shares(cells: Floats) -> list[str]:
    """Return the pooled means of cells, (A, B), with their intervals, for each budget."""
    return [
        interval(values) for values in zip(*pooled(lambda picks: cells[picks].mean(axis=1), len(cells)), strict=True)
    ]


def gaps(cells: Floats) -> list[str]:
    """Likewise, of gaps in points."""
    found = pooled(lambda picks: cells[picks].mean(axis=1), len(cells))
    return [interval(values, digits=1) for values in zip(*found, strict=True)]


def ratio(ours: Outcomes, other: Outcomes) -> str:
    """Return the ratio of mean seconds with its interval."""
    mine, theirs = ours.capped, other.capped
    middle, low, high = pooled(lambda picks: mine[picks].mean(axis=1) / theirs[picks].mean(axis=1), len(mine))
    return interval((float(middle), float(low), float(high)), scale=1, digits=2)


def binomial(hits: Floats) -> str:
    """Return a share with its interval (Wilson)."""
    test = scipy.stats.binomtest(int(hits.sum()), hits.size).proportion_ci(method="wilson")
    return interval((float(hits.mean()), test.low, test.high))


def median_seconds(seconds: Floats) -> str:
    """Return the median; the largest budget with a > if most replays did not come near."""
    middle = float(np.median(seconds))
    return f"{middle:.0f}" if math.isfinite(middle) else f"> {BUDGETS[-1]:.0f}"
