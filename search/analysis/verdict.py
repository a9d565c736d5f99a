"""The verdict: the winning strategy, with differences, intervals and costs; a tie goes to the cheaper strategy.

Strategies are compared on the same test images by a paired bootstrap (Efron & Tibshirani 1993) that resamples the
images, stratified by class (small classes together), and the seeds of each strategy. Image weights, the number of
times each image was drawn, give the resampled metric. Intervals are simultaneous over all comparisons with the leader
(Bonferroni), so more strategies do not make a winner by chance more likely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import METRICS, Weighted, weighted
from ..records import FinalRecord

REPLICATES = 10_000
CONFIDENCE = 0.95
# Wall times within this factor of the cheapest count as equal: on a busy machine they vary by that much.
SAME_COST = 1.5
# Classes with fewer test images are resampled together: alone, a class of one image would show no variance.
MIN_STRATUM = 5
_CHUNK = 500

Interval = tuple[float, float]
# Finals by strategy and seed, highest mean test score first.
Ranked = Sequence[Sequence[FinalRecord]]


@dataclass(frozen=True)
class Comparison:
    """What resampling says of several strategies, the leader first.

    Attributes:
        score_intervals: Confidence interval of each strategy's mean test score.
        intervals: Simultaneous confidence intervals of the leader's score minus that of each other strategy.
        best_shares: Share of resamplings in which each strategy scores highest.
    """

    score_intervals: tuple[Interval, ...]
    intervals: tuple[Interval, ...]
    best_shares: tuple[float, ...]


Comparing = Callable[[Ranked, str, int], Comparison]


@dataclass(frozen=True)
class Contender:
    """A strategy in the verdict.

    Attributes:
        strategy: Name of the strategy.
        trial_number: Number of the trial whose configuration was retrained.
        scores: Test score of each seed, in [0, 1].
        seconds: Mean wall time of a training.
        trainable_parameters: Number of parameters that train in the last phase.
        gap_to_leader: Mean test score of the leader minus this strategy's; 0 for the leader.
        interval: Simultaneous confidence interval of ``gap_to_leader``; None for the leader.
        score_interval: Confidence interval of the mean test score alone.
        finals: Its finals, one per seed.
    """

    strategy: str
    trial_number: int
    scores: tuple[float, ...]
    seconds: float
    trainable_parameters: int
    gap_to_leader: float
    interval: Interval | None
    score_interval: Interval
    finals: tuple[FinalRecord, ...] = field(repr=False, compare=False)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Return the mean over seeds of every metric on the test split; see :attr:`FinalRecord.metrics`."""
        seeds = [final.metrics for final in self.finals]
        names = [name for name in seeds[0] if all(name in metrics for metrics in seeds)]
        return {name: float(np.mean([metrics[name] for metrics in seeds])) for name in names}

    @property
    def mean(self) -> float:
        """Return the mean test score."""
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """Return the standard deviation over seeds; 0 for one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0

    @property
    def tied(self) -> bool:
        """Return whether the strategy leads, or its interval includes 0."""
        return self.interval is None or self.interval[0] <= 0.0 <= self.interval[1]


@dataclass(frozen=True)
class Verdict:
    """The answer of a study.

    Attributes:
        metric: Name of the metric.
        contenders: All strategies, by falling mean test score.
        winner: Cheapest strategy of the leader and its ties; of similar costs (:data:`SAME_COST`), the best.
        test_images: Size of the test split.
        confidence: Joint confidence of all intervals.
        best_shares: Share of resamplings in which a strategy scores highest, by strategy; equals share.
    """

    metric: str
    contenders: tuple[Contender, ...]
    winner: Contender
    test_images: int
    confidence: float = CONFIDENCE
    best_shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def leader(self) -> Contender:
        """Return the strategy with the highest mean test score."""
        return self.contenders[0]

    def sentence(self) -> str:
        """Return the verdict in one or two sentences."""
        won, metric = self.winner, METRICS[self.metric].title
        low, high = won.score_interval
        text = (
            f"{won.strategy} wins: {_percent(won.mean)} test {metric} (mean of {_count(len(won.scores), 'seed')}, "
            f"{100 * self.confidence:.0f} % interval {100 * low:.1f} to {100 * high:.1f})"
        )
        tied = [contender.strategy for contender in self.contenders if contender.tied and contender is not won]
        if won is self.leader:
            if tied:
                are = "is" if len(tied) == 1 else "are"
                return f"{text}; {_list(tied)} {are} statistically tied with it, at a similar or higher cost."
            if len(self.contenders) == 1:
                return f"{text}, with no other to compare."
            return f"{text}, ahead of all others beyond chance ({100 * self.confidence:.0f} % confidence)."
        return (
            f"{text}. {self.leader.strategy} scored {_percent(self.leader.mean)}, but that difference may be chance, "
            f"and it takes {self.leader.seconds / max(won.seconds, 1e-9):.1f}x the training time."
        )


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def compare(ranked: Ranked, metric: str, seed: int) -> Comparison:
    """Resample the finals of the strategies, the leader's first, and compare the others with it.

    Args:
        ranked: Finals by strategy and seed, highest mean test score first.
        metric: Name of the metric.
        seed: Seed of the resampling.
    """
    labels = ranked[0][0].labels
    scores = [[weighted(metric, final.probabilities, labels) for final in group] for group in ranked]
    leader, *others = replicates = bootstrap_scores(scores, labels, seed=seed)
    return Comparison(
        score_intervals=tuple(simultaneous_interval(each, 1) for each in replicates),
        intervals=tuple(simultaneous_interval(leader - each, len(others)) for each in others),
        best_shares=tuple(best_shares(replicates)),
    )


def reach_verdict(
    finals: Sequence[FinalRecord], metric: str, *, seed: int = 0, comparing: Comparing = compare
) -> Verdict:
    """Compare the finals of the strategies.

    Args:
        finals: Finals with one or more seeds per strategy, on the same test images in the same order.
        metric: Name of a metric that a study can maximize.
        seed: Seed of the resampling.
        comparing: Gives the comparison, as :func:`compare` does.

    Raises:
        ValueError: There are no finals, or they were tested on different images.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import reach_verdict
        >>> from frostline.search.records import FinalRecord
        >>> labels = np.arange(40) % 2
        >>> right = np.eye(2, dtype=np.float32)[labels]
        >>> half = np.full_like(right, 0.5)
        >>> finals = [
        ...     FinalRecord("full", 3, 1000, 1.0, 1.0, 9.0, 500, labels, right),
        ...     FinalRecord("scratch", 5, 1000, 0.5, 0.5, 9.0, 500, labels, half),
        ... ]
        >>> verdict = reach_verdict(finals, "accuracy")
        >>> verdict.winner.strategy, verdict.contenders[1].gap_to_leader, verdict.contenders[1].tied
        ('full', 0.5, False)
    """
    if not finals:
        raise ValueError("no finals to compare")
    labels = finals[0].labels
    if any(not np.array_equal(final.labels, labels) for final in finals):
        raise ValueError("the finals were not tested on the same images")
    by_strategy: dict[str, list[FinalRecord]] = {}
    # Sorted, so the result does not depend on the order in which the finals ended.
    for final in sorted(finals, key=lambda final: (final.strategy, final.seed)):
        by_strategy.setdefault(final.strategy, []).append(final)
    ranked = sorted(by_strategy.values(), key=_rank)
    comparison = comparing(ranked, metric, seed)
    contenders = tuple(
        _contender(group, ranked[0], interval, score_interval)
        for group, interval, score_interval in zip(
            ranked, (None, *comparison.intervals), comparison.score_intervals, strict=True
        )
    )
    shares = dict(zip([group[0].strategy for group in ranked], comparison.best_shares, strict=True))
    return Verdict(metric, contenders, _winner(contenders), len(labels), best_shares=shares)


def _rank(group: Sequence[FinalRecord]) -> tuple[float, float]:
    """Return a sort key: best mean first, of equals the cheaper."""
    return -float(np.mean([final.test_score for final in group])), float(np.mean([final.seconds for final in group]))


def _winner(contenders: Sequence[Contender]) -> Contender:
    """Return the best of the cheapest among the leader and its ties; ``contenders`` are sorted, best first."""
    tied = [contender for contender in contenders if contender.tied]
    cheapest = min(contender.seconds for contender in tied)
    return next(contender for contender in tied if contender.seconds <= SAME_COST * cheapest)


def _contender(
    group: Sequence[FinalRecord],
    leaders: Sequence[FinalRecord],
    interval: Interval | None,
    score_interval: Interval,
) -> Contender:
    scores = tuple(final.test_score for final in group)
    return Contender(
        strategy=group[0].strategy,
        trial_number=group[0].trial_number,
        scores=scores,
        seconds=float(np.mean([final.seconds for final in group])),
        trainable_parameters=group[0].trainable_parameters,
        gap_to_leader=float(np.mean([final.test_score for final in leaders]) - np.mean(scores)),
        interval=interval,
        score_interval=score_interval,
        finals=tuple(group),
    )


def best_shares(replicates: Sequence[NDArray[np.float64]]) -> list[float]:
    """Return how often each of several resampled scores (B,) is the highest, as shares of 1; equals share.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis.verdict import best_shares
        >>> best_shares([np.array([0.9, 0.8, 0.7, 0.6]), np.array([0.8, 0.8, 0.6, 0.5])])
        [0.875, 0.125]"""
    scores = np.stack(replicates)
    highest = scores == scores.max(axis=0)
    return (highest / highest.sum(axis=0)).mean(axis=1).tolist()


def simultaneous_interval(replicates: NDArray[np.float64], comparisons: int) -> tuple[float, float]:
    """Return the percentile interval that holds for all comparisons at once (Bonferroni).

    Args:
        replicates: Resampled values (B,).
        comparisons: Number of comparisons."""
    tail = (1 - CONFIDENCE) / (2 * max(1, comparisons))
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def bootstrap_scores(
    strategies: Sequence[Sequence[Weighted]],
    labels: NDArray[np.int64],
    *,
    seed: int,
    replicates: int = REPLICATES,
) -> list[NDArray[np.float64]]:
    """Resample the mean score of each strategy; all strategies get the same resampled images (paired).

    Args:
        strategies: By strategy and seed, the score as a function of the image weights.
        labels: Classes of the images (N,); resampling keeps the size of each class, except small classes.
        seed: Seed of the resampling.
        replicates: Number of resamplings, B.

    Returns:
        Scores (B,) of each strategy.
    """
    rng = np.random.default_rng(seed)
    chunks = [min(_CHUNK, replicates - start) for start in range(0, replicates, _CHUNK)]
    drawn: list[list[NDArray[np.float64]]] = [[] for _ in strategies]
    for size in chunks:
        counts = _resample(labels, size, rng)
        for scores, seeds in zip(drawn, strategies, strict=True):
            scores.append(_over_seeds(np.stack([score(counts) for score in seeds], axis=1), rng))
    return [np.concatenate(scores) for scores in drawn]


def _resample(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return how often each image is drawn (B, N), with replacement within its stratum."""
    # The draws of an image are contiguous in memory, which the metrics need.
    counts = np.zeros((len(labels), size)).T
    for members in _strata(labels):
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=size)
    return counts


def _strata(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the positions of each class; small classes are merged with larger ones until they are large enough."""
    classes = sorted((np.flatnonzero(labels == label) for label in np.unique(labels)), key=len)
    together = classes.pop(0)
    while classes and (len(classes[0]) < MIN_STRATUM or len(together) < MIN_STRATUM):
        together = np.concatenate([together, classes.pop(0)])
    return [together, *classes]


def _over_seeds(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the mean (B,) over seeds drawn with replacement from scores (B, S)."""
    seeds = scores.shape[1]
    picks = rng.integers(seeds, size=scores.shape)
    return np.take_along_axis(scores, picks, axis=1).mean(axis=1)
