"""The verdict: which strategy wins, by how much, how surely, at what cost; a tie goes to the cheaper.

Strategies are compared on the same test images by a paired bootstrap (Efron & Tibshirani 1993) that resamples the
images, stratified by class (small classes together), and the seeds of each strategy. A metric is resampled through
its image weights: how often each image was drawn. Intervals are simultaneous over all comparisons with the leader
(Bonferroni), so that more strategies do not make a chance winner more likely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import METRICS, Weighted, weighted
from ..records import FinalRecord

REPLICATES = 10_000
CONFIDENCE = 0.95
# Wall times within this factor of the cheapest count as equal: they vary that much on a busy machine.
SAME_COST = 1.5
# Classes of fewer test images are resampled together: alone, a class of one image would show no chance at all.
SMALLEST_STRATUM = 5
_CHUNK = 500


@dataclass(frozen=True)
class Contender:
    """A strategy in the verdict.

    Attributes:
        strategy: Its name.
        trial_number: The trial whose configuration was retrained.
        scores: Test score of each seed, in [0, 1].
        seconds: Mean wall time of a training.
        trainable_parameters: Of the last phase.
        behind: Mean test score of the leader minus its own; 0 for the leader.
        interval: Simultaneous confidence interval of ``behind``; None for the leader.
        score_interval: Confidence interval of the mean test score, by itself.
        metrics: Every metric on the test split by name, mean over seeds; see :attr:`FinalRecord.metrics`.
    """

    strategy: str
    trial_number: int
    scores: tuple[float, ...]
    seconds: float
    trainable_parameters: int
    behind: float
    interval: tuple[float, float] | None
    score_interval: tuple[float, float]
    metrics: Mapping[str, float]

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))

    @property
    def spread(self) -> float:
        """Standard deviation over seeds; 0 for one seed."""
        return float(np.std(self.scores, ddof=1)) if len(self.scores) > 1 else 0.0

    @property
    def tied(self) -> bool:
        """Whether it leads or cannot be told from the leader: its interval includes 0."""
        return self.interval is None or self.interval[0] <= 0.0 <= self.interval[1]


@dataclass(frozen=True)
class Verdict:
    """The answer of a study.

    Attributes:
        metric: What the scores are.
        contenders: All strategies, the highest mean test score first.
        winner: The cheapest of those that lead or tie; where costs are about equal (:data:`SAME_COST`), the best.
        test_images: Size of the test split.
        confidence: Of all intervals together.
        best_shares: By strategy: the share of resamplings in which it scores highest, shared among equals.
    """

    metric: str
    contenders: tuple[Contender, ...]
    winner: Contender
    test_images: int
    confidence: float = CONFIDENCE
    best_shares: Mapping[str, float] = field(default_factory=dict)

    @property
    def leader(self) -> Contender:
        return self.contenders[0]

    def sentence(self) -> str:
        """The verdict in a sentence or two."""
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


def reach_verdict(finals: Sequence[FinalRecord], metric: str, *, seed: int = 0) -> Verdict:
    """Compare finalists.

    Args:
        finals: Of two or more strategies, each with one or more seeds, on the same test images in the same order.
        metric: What a study can maximise, by name.
        seed: Of the resampling.

    Raises:
        ValueError: No finals, or not on the same test images.
    """
    if not finals:
        raise ValueError("no finals to compare")
    labels = finals[0].labels
    if any(not np.array_equal(final.labels, labels) for final in finals):
        raise ValueError("the finals were not tested on the same images")
    by_strategy: dict[str, list[FinalRecord]] = {}
    # Sorted, so that the answer does not depend on the order in which the finals ended.
    for final in sorted(finals, key=lambda final: (final.strategy, final.seed)):
        by_strategy.setdefault(final.strategy, []).append(final)
    ranked = sorted(by_strategy.values(), key=_rank)
    scores = [[weighted(metric, final.probabilities, labels) for final in group] for group in ranked]
    replicates = bootstrap_scores(scores, labels, seed=seed)
    contenders = tuple(
        _contender(
            group,
            ranked[0],
            replicates[place],
            None if place == 0 else replicates[0] - replicates[place],
            len(ranked) - 1,
        )
        for place, group in enumerate(ranked)
    )
    shares = dict(zip([group[0].strategy for group in ranked], best_shares(replicates), strict=True))
    return Verdict(metric, contenders, _winner(contenders), len(labels), best_shares=shares)


def _rank(group: Sequence[FinalRecord]) -> tuple[float, float]:
    """Best mean first, of equals the cheaper."""
    return -float(np.mean([final.test_score for final in group])), float(np.mean([final.seconds for final in group]))


def _winner(contenders: Sequence[Contender]) -> Contender:
    """The best of the cheapest of those that lead or tie; ``contenders`` come best first."""
    tied = [contender for contender in contenders if contender.tied]
    cheapest = min(contender.seconds for contender in tied)
    return next(contender for contender in tied if contender.seconds <= SAME_COST * cheapest)


def _contender(
    group: Sequence[FinalRecord],
    leaders: Sequence[FinalRecord],
    replicates: NDArray[np.float64],
    differences: NDArray[np.float64] | None,
    comparisons: int,
) -> Contender:
    scores = tuple(final.test_score for final in group)
    return Contender(
        strategy=group[0].strategy,
        trial_number=group[0].trial_number,
        scores=scores,
        seconds=float(np.mean([final.seconds for final in group])),
        trainable_parameters=group[0].trainable_parameters,
        behind=float(np.mean([final.test_score for final in leaders]) - np.mean(scores)),
        interval=None if differences is None else simultaneous_interval(differences, comparisons),
        score_interval=simultaneous_interval(replicates, 1),
        metrics=_mean_metrics([final.metrics for final in group]),
    )


def _mean_metrics(seeds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over seeds of the metrics that all of them have."""
    names = [name for name in seeds[0] if all(name in metrics for metrics in seeds)]
    return {name: float(np.mean([metrics[name] for metrics in seeds])) for name in names}


def best_shares(replicates: Sequence[NDArray[np.float64]]) -> list[float]:
    """How often each of several resampled scores (B,) is the highest, as shares of 1; equals share."""
    scores = np.stack(replicates)
    highest = scores == scores.max(axis=0)
    return (highest / highest.sum(axis=0)).mean(axis=1).tolist()


def simultaneous_interval(replicates: NDArray[np.float64], comparisons: int) -> tuple[float, float]:
    """Percentile interval that holds for all of so many comparisons at once (Bonferroni)."""
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
    """Resampled mean scores of each strategy, paired by resampling the same images for all.

    Args:
        strategies: The score of each seed of each strategy as a function of the images' weights.
        labels: Classes of the images (N,); resampling keeps the number of images of each, small
            classes aside.
        seed: Of the resampling.
        replicates: How many, B.

    Returns:
        A strategy each: (B,) scores.
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
    """How often each image is drawn (B, N), with replacement within its stratum."""
    # An image's draws lie together: that is how metrics gather them.
    counts = np.zeros((len(labels), size)).T
    for members in _strata(labels):
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=size)
    return counts


def _strata(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Positions of each class; those of small classes together, with larger ones until they are enough."""
    classes = sorted((np.flatnonzero(labels == label) for label in np.unique(labels)), key=len)
    together = classes.pop(0)
    while classes and (len(classes[0]) < SMALLEST_STRATUM or len(together) < SMALLEST_STRATUM):
        together = np.concatenate([together, classes.pop(0)])
    return [together, *classes]


def _over_seeds(scores: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Mean (B,) over seeds drawn with replacement from scores (B, S)."""
    seeds = scores.shape[1]
    picks = rng.integers(seeds, size=scores.shape)
    return np.take_along_axis(scores, picks, axis=1).mean(axis=1)
