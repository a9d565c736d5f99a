"""Which strategies may be the best: the model confidence set of their finals (Hansen, Lunde & Nason 2011).

All strategies are in the set at first. While the largest standardized gap between two of them is larger than chance
makes it for as many equal strategies, the one that is furthest behind the leader leaves the set. So a strategy that is
as good as the best is declared behind in at most 5 % of studies, however many there are.

Strategies may be compared several times, while seeds are added. Each comparison may then use up a part of the 5 %
(group sequential testing; Lan & DeMets 1983): by the critical value, that part of the draws leaves the set now or has
left it before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...objectives.metrics import weighted
from ..records import FinalRecord
from .outlook import Outlook, foresee
from .score_draws import ScoreDraws, draw_scores, draws_of
from .seed_spread import Floats

CONFIDENCE = 0.95
# Largest probability of something unlikely.
UNLIKELY = 0.1
# With fewer test images, an interval of an accuracy of 80 % is wider than 28 points, and resampling says too little.
MIN_TEST_IMAGES = 30

Interval = tuple[float, float]
# Finals by strategy and seed, highest mean test score first.
Ranked = Sequence[Sequence[FinalRecord]]


@dataclass(frozen=True)
class Look:
    """When strategies are compared: once, or while their finals go on.

    Attributes:
        confidence: Confidence of this comparison and the earlier ones together.
        earlier: Number of seeds and critical value of each earlier comparison.
        racing: Number of strategies, the first ones, that no earlier comparison found behind; None for all.
        max_seeds: Number of seeds that these may have in the end; None if they get no more.
    """

    confidence: float = CONFIDENCE
    earlier: tuple[tuple[int, float], ...] = ()
    racing: int | None = None
    max_seeds: int | None = None


ONLY_LOOK = Look()
NO_OUTLOOK = Outlook()


@dataclass(frozen=True)
class Gap:
    """By how much the leader is better than another strategy.

    Attributes:
        interval: Confidence interval; all of them hold at once.
        image_error: Standard error of the gap that is due to the number of test images.
        seed_error: Standard error of the gap that is due to the number of seeds.
        answer_error: Standard error of the gap that is due to each training's own answers: more test images and more
            seeds both lower it.
        likely_at_most: What the true gap exceeds with a probability of :data:`UNLIKELY`.
        behind: Whether the strategy is behind the leader beyond chance.
    """

    interval: Interval
    image_error: float
    seed_error: float
    answer_error: float
    likely_at_most: float
    behind: bool


@dataclass(frozen=True)
class Comparison:
    """What the finals of several strategies say of them, the leader first.

    Attributes:
        score_intervals: Confidence interval of each strategy's mean test score.
        gaps: By how much the leader is better than each other strategy.
        best_shares: Probability that a strategy is the best one; equals share.
        critical: Largest standardized difference that chance makes between those in the confidence set.
        outlook: What more seeds promise.
    """

    score_intervals: tuple[Interval, ...]
    gaps: tuple[Gap, ...]
    best_shares: tuple[float, ...]
    critical: float = 0.0
    outlook: Outlook = NO_OUTLOOK


Comparing = Callable[[Ranked, str, int, Look], Comparison]


def compare(ranked: Ranked, metric: str, seed: int, look: Look = ONLY_LOOK, *, draws: int | None = None) -> Comparison:
    """Compare the finals of strategies with those of the leader, which come first.

    Args:
        ranked: Finals by strategy and seed: those in the race by falling mean test score, then the others.
        metric: Name of the metric.
        seed: Seed of the draws.
        look: Earlier comparisons of the same strategies.
        draws: Number of draws; by default :func:`~frostline.search.analysis.score_draws.draws_of` the metric.
    """
    labels = ranked[0][0].labels
    scores = [[weighted(metric, final.probabilities, labels) for final in group] for group in ranked]
    number, earlier = draws or draws_of(metric), [seeds for seeds, _ in look.earlier]
    drawn = draw_scores(scores, labels, seed=seed, draws=number, earlier=earlier)
    compared = compare_draws(drawn, look, len(ranked[0]))
    if len(labels) >= MIN_TEST_IMAGES:
        return compared
    pairs = zip(compared.score_intervals, drawn.means, strict=True)
    widened = tuple(widest(interval, exact_interval(mean, len(labels))) for interval, mean in pairs)
    return replace(compared, score_intervals=widened)


def compare_draws(drawn: ScoreDraws, look: Look, seeds: int) -> Comparison:
    """Compare strategies by the draws of their true scores; ``seeds`` is the number of seeds of those in the race."""
    earlier = [(drawn.earlier_errors(number), critical) for number, critical in look.earlier]
    found = confidence_set(drawn.means, drawn.errors, look.confidence, earlier=earlier, racing=look.racing)
    of_images, of_seeds = ((each[:, :1] - each[:, 1:]).var(axis=0) for each in (drawn.images, drawn.seeds))
    of_answers = np.minimum(drawn.answers[0] + drawn.answers[1:], of_images)
    errors = (np.sqrt(each).tolist() for each in (of_images - of_answers, of_seeds, of_answers))
    tied = [0, *(place for place, behind in enumerate(found.behind, 1) if not behind)]
    at_most = np.quantile(drawn.scores[:, :1] - drawn.scores[:, 1:], 1 - UNLIKELY, axis=0)
    parts = zip(found.intervals, zip(*errors, strict=True), at_most, found.behind, strict=True)
    return Comparison(
        score_intervals=tuple(central_interval(each, 1) for each in drawn.scores.T),
        gaps=tuple(
            Gap(interval, images, seed, answer, float(most), behind)
            for interval, (images, seed, answer), most, behind in parts
        ),
        best_shares=tuple(best_shares(drawn.scores)),
        critical=found.critical,
        outlook=foresee(drawn, tied, seeds, look.max_seeds or seeds, CONFIDENCE),
    )


@dataclass(frozen=True)
class ConfidenceSet:
    """The strategies that may be the best, and by how much the first is better than each other one.

    Attributes:
        intervals: Simultaneous confidence intervals (K - 1) of the first mean minus each other one.
        behind: Whether each other strategy (K - 1) is not in the set.
        critical: Largest standardized difference that chance makes between those in the set.
    """

    intervals: tuple[Interval, ...]
    behind: tuple[bool, ...]
    critical: float


def confidence_set(
    means: Floats,
    errors: Floats,
    confidence: float = CONFIDENCE,
    *,
    earlier: Sequence[tuple[Floats, float]] = (),
    racing: int | None = None,
) -> ConfidenceSet:
    """Find the strategies that may be the best.

    Args:
        means: Observed means (K,), the highest of those in the race first.
        errors: Draws (B, K) of what the true means differ from them.
        confidence: Of all intervals together, and of the earlier comparisons.
        earlier: Errors and critical value of each earlier comparison.
        racing: Number of strategies, the first ones, that no earlier comparison found behind; None for all.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis.comparison import confidence_set
        >>> errors = np.random.default_rng(0).normal(0, 0.01, size=(10_000, 3))
        >>> confidence_set(np.array([0.9, 0.89, 0.6]), errors).behind
        (False, True)
    """
    gaps, scale = means[0] - means[1:], _scale(errors)
    inside = list(range(len(means) if racing is None else racing))
    critical = _critical(errors, inside, confidence, earlier)
    half = critical * scale[0, 1:]
    while others := inside[1:]:
        half[np.array(others) - 1] = critical * scale[0, others]
        furthest = max(others, key=lambda each: _standardized(float(gaps[each - 1]), float(scale[0, each])))
        if gaps[furthest - 1] <= half[furthest - 1]:
            break
        inside.remove(furthest)
        if len(inside) > 1:
            critical = _critical(errors, inside, confidence, earlier)
    return ConfidenceSet(
        intervals=tuple((float(gap - each), float(gap + each)) for gap, each in zip(gaps, half, strict=True)),
        behind=tuple(place not in inside for place in range(1, len(means))),
        critical=critical,
    )


def _scale(errors: Floats) -> Floats:
    """Return the standard errors (K, K) of the differences."""
    return (errors[:, :, None] - errors[:, None, :]).std(axis=0)


def _critical(
    errors: Floats, inside: Sequence[int], confidence: float, earlier: Sequence[tuple[Floats, float]] = ()
) -> float:
    """Return the standardized difference that two of several equal strategies exceed now, or exceeded, so rarely."""
    exceeded = np.zeros(len(errors), bool)
    for before, critical in earlier:
        exceeded |= _largest(before[:, inside]) > critical
    largest = _largest(errors[:, inside])[~exceeded]
    left = (1 - confidence) * len(errors) - exceeded.sum()
    return float(np.quantile(largest, np.clip(1 - left / max(1, len(largest)), 0, 1)))


def _largest(errors: Floats) -> Floats:
    """Return the largest standardized difference of two strategies (B,)."""
    scale = _scale(errors)
    largest = np.zeros(len(errors))
    for one in range(errors.shape[1]):
        for other in range(one):
            if scale[one, other] > 0:
                np.maximum(largest, np.abs(errors[:, one] - errors[:, other]) / scale[one, other], out=largest)
    return largest


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


def exact_interval(mean: float, images: int) -> Interval:
    """Return the interval of a share of right answers by the binomial distribution (Clopper & Pearson 1934).

    Resampling a few images that were all answered rightly would find no doubt at all.

    Args:
        mean: Observed share, over all seeds.
        images: Number of test images.

    Examples:
        >>> from frostline.search.analysis.comparison import exact_interval
        >>> [round(each, 3) for each in exact_interval(1.0, 6)]
        [0.541, 1.0]
    """
    from scipy.special import betaincinv  # slow to import, and rarely needed

    right, tail = mean * images, (1 - CONFIDENCE) / 2
    low = betaincinv(right, images - right + 1, tail) if right > 0 else 0.0
    high = betaincinv(right + 1, images - right, 1 - tail) if right < images else 1.0
    return float(low), float(high)


def widest(one: Interval, other: Interval) -> Interval:
    """Return the interval from the lower low end to the higher high end."""
    return min(one[0], other[0]), max(one[1], other[1])


def central_interval(draws: Floats, comparisons: int) -> Interval:
    """Return the central interval of draws (B,) that holds for several comparisons at once (Bonferroni)."""
    tail = (1 - CONFIDENCE) / (2 * max(1, comparisons))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)
