"""Which strategies may be the best: the model confidence set of their finals (Hansen, Lunde & Nason 2011).

All strategies are in the set at first. While the largest standardized gap between two of them is larger than chance
makes it for as many equal strategies, the one that is furthest behind the leader leaves the set. So a strategy that is
as good as the best is declared behind in at most 5 % of studies, however many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...objectives.metrics import weighted
from ..records import FinalRecord
from .score_draws import draw_scores
from .seed_spread import Floats

CONFIDENCE = 0.95
# Largest probability of something unlikely.
UNLIKELY = 0.1

Interval = tuple[float, float]
# Finals by strategy and seed, highest mean test score first.
Ranked = Sequence[Sequence[FinalRecord]]


@dataclass(frozen=True)
class Gap:
    """By how much the leader is better than another strategy.

    Attributes:
        interval: Confidence interval; all of them hold at once. Above 0, the strategy is behind.
        image_error: Standard error of the gap that is due to the number of test images.
        seed_error: Standard error of the gap that is due to the number of seeds.
        likely_at_most: What the true gap exceeds with a probability of :data:`UNLIKELY`.
    """

    interval: Interval
    image_error: float
    seed_error: float
    likely_at_most: float

    @property
    def behind(self) -> bool:
        """Return whether the strategy is behind the leader beyond chance."""
        return self.interval[0] > 0


@dataclass(frozen=True)
class Comparison:
    """What the finals of several strategies say of them, the leader first.

    Attributes:
        score_intervals: Confidence interval of each strategy's mean test score.
        gaps: By how much the leader is better than each other strategy.
        best_shares: Probability that a strategy is the best one; equals share.
    """

    score_intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]
    best_shares: tuple[float, ...]


Comparing = Callable[[Ranked, str, int], Comparison]


def compare(ranked: Ranked, metric: str, seed: int) -> Comparison:
    """Compare the finals of strategies with those of the leader, which come first.

    Args:
        ranked: Finals by strategy and seed, highest mean test score first.
        metric: Name of the metric.
        seed: Seed of the draws.
    """
    labels = ranked[0][0].labels
    scores = [[weighted(metric, final.probabilities, labels) for final in group] for group in ranked]
    drawn = draw_scores(scores, labels, seed=seed)
    intervals = confidence_set(drawn.means, drawn.errors)
    of_images, of_seeds = ((each[:, :1] - each[:, 1:]).std(axis=0) for each in (drawn.images, drawn.seeds))
    at_most = np.quantile(drawn.scores[:, :1] - drawn.scores[:, 1:], 1 - UNLIKELY, axis=0)
    return Comparison(
        score_intervals=tuple(central_interval(each, 1) for each in drawn.scores.T),
        gaps=tuple(
            Gap(interval, *map(float, errors))
            for interval, *errors in zip(intervals, of_images, of_seeds, at_most, strict=True)
        ),
        best_shares=tuple(best_shares(drawn.scores)),
    )


def confidence_set(means: Floats, errors: Floats, confidence: float = CONFIDENCE) -> list[Interval]:
    """Return the simultaneous confidence intervals of the first mean minus each other one.

    Args:
        means: Observed means (K,), the highest first.
        errors: Draws (B, K) of what the true means differ from them.
        confidence: Of all intervals together.

    Returns:
        K - 1 intervals: those above 0 belong to strategies that are not in the confidence set.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis.comparison import confidence_set
        >>> errors = np.random.default_rng(0).normal(0, 0.01, size=(10_000, 3))
        >>> intervals = confidence_set(np.array([0.9, 0.89, 0.6]), errors)
        >>> [bool(low > 0) for low, high in intervals]
        [False, True]
    """
    gaps = means[0] - means[1:]
    scale = (errors[:, :, None] - errors[:, None, :]).std(axis=0)
    intervals: list[Interval] = [(0.0, 0.0)] * len(gaps)
    inside = list(range(len(means)))
    while len(inside) > 1:
        critical = _critical(errors[:, inside], scale[np.ix_(inside, inside)], confidence)
        others = [strategy for strategy in inside if strategy]
        for strategy in others:
            half = critical * float(scale[0, strategy])
            intervals[strategy - 1] = (float(gaps[strategy - 1] - half), float(gaps[strategy - 1] + half))
        furthest = max(others, key=lambda each: _standardized(float(gaps[each - 1]), float(scale[0, each])))
        if intervals[furthest - 1][0] <= 0:
            break
        inside.remove(furthest)
    return intervals


def _critical(errors: Floats, scale: Floats, confidence: float) -> float:
    """Return the largest standardized difference of two strategies that equal ones have with this confidence."""
    largest = np.zeros(len(errors))
    for one in range(errors.shape[1]):
        for other in range(one):
            if scale[one, other] > 0:
                np.maximum(largest, np.abs(errors[:, one] - errors[:, other]) / scale[one, other], out=largest)
    return float(np.quantile(largest, confidence))


def _standardized(gap: float, scale: float) -> float:
    if scale > 0:
        return gap / scale
    return np.inf if gap > 0 else 0.0


def best_shares(scores: Floats) -> list[float]:
    """Return how often each of several drawn scores (B, K) is the highest, as shares of 1; equals share.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis.comparison import best_shares
        >>> best_shares(np.array([[0.9, 0.8], [0.8, 0.8], [0.7, 0.6], [0.6, 0.5]]))
        [0.875, 0.125]"""
    highest = scores == scores.max(axis=1, keepdims=True)
    return (highest / highest.sum(axis=1, keepdims=True)).mean(axis=0).tolist()


def central_interval(draws: Floats, comparisons: int) -> Interval:
    """Return the central interval of draws (B,) that holds for several comparisons at once (Bonferroni)."""
    tail = (1 - CONFIDENCE) / (2 * max(1, comparisons))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
