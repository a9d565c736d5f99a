"""The data-size curve: test score by number of training images, and where strategies overtake feature extraction.

The statistics are those of the verdict: draws of the true mean scores, with simultaneous intervals (Bonferroni) for all
comparisons with feature extraction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import weighted
from ..records import FinalRecord
from .comparison import CONFIDENCE, central_interval
from .projection import Projection, project
from .score_draws import draw_scores, draws_of

BASELINE = "feature_extraction"


@dataclass(frozen=True)
class CurveRecord:
    """A finalist trained on part of the training images and tested.

    Attributes:
        images: Number of training images.
        final: Record of the training and its test.
    """

    images: int
    final: FinalRecord


@dataclass(frozen=True)
class CurvePoint:
    """A strategy at one number of training images.

    Attributes:
        strategy: Name of the strategy.
        images: Number of training images.
        scores: Test score of each seed, in [0, 1].
        interval: Confidence interval of the mean score alone.
        difference: Mean test score minus feature extraction's at this number; None without a comparison.
        difference_interval: Simultaneous confidence interval of ``difference``.
    """

    strategy: str
    images: int
    scores: tuple[float, ...]
    interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class Crossover:
    """The point where a strategy overtakes feature extraction.

    Attributes:
        strategy: Name of the strategy.
        point: Point at the smallest number of images from which on its mean stays above feature extraction's; None if
            it is not above with all images.
        first: Whether this is the smallest number of images that was tried.
        earlier: Smaller numbers of images with which its mean was above too, before it fell behind again.
    """

    strategy: str
    point: CurvePoint | None
    first: bool
    earlier: tuple[int, ...] = ()

    @property
    def significant(self) -> bool:
        """Return whether the interval of the difference excludes 0 at the point."""
        interval = None if self.point is None else self.point.difference_interval
        return interval is not None and interval[0] > 0

    def sentence(self) -> str:
        """Return the crossover as a sentence."""
        if self.point is None or self.point.difference is None or self.point.difference_interval is None:
            return f"{self.strategy} is not ahead of {BASELINE} with all training images{self._before('it was')}."
        low, high = (f"{100 * bound:.1f}".replace("-", "−") for bound in self.point.difference_interval)
        where = f"from {self.point.images:,} training images on"
        how = f"is ahead of {BASELINE} {where}, the fewest tried" if self.first else f"overtakes {BASELINE} {where}"
        chance = "" if self.significant else ", so it may be chance there"
        points = 100 * self.point.difference
        return (
            f"{self.strategy} {how} (by {points:.1f} points there, {100 * CONFIDENCE:.0f} % interval "
            f"{low} to {high}{chance}){self._before('it was ahead')}."
        )

    def _before(self, was: str) -> str:
        """Say with how many images it was ahead before it fell behind again."""
        return f"; {was} with {', '.join(f'{images:,}' for images in self.earlier)}" if self.earlier else ""


@dataclass(frozen=True)
class DataCurve:
    """Test scores by number of training images.

    Attributes:
        metric: Name of the metric.
        points: Points by strategy, then by number of images.
        crossovers: Crossovers of the other strategies with feature extraction; empty without feature extraction.
        test_images: Size of the test split.
        projections: What more training images would gain each strategy.
        confidence: Confidence of the intervals.
    """

    metric: str
    points: tuple[CurvePoint, ...]
    crossovers: tuple[Crossover, ...]
    test_images: int
    projections: tuple[Projection, ...] = ()
    confidence: float = CONFIDENCE

    @property
    def sizes(self) -> list[int]:
        """Return the numbers of training images in ascending order."""
        return sorted({point.images for point in self.points})

    def of(self, strategy: str) -> list[CurvePoint]:
        """Return a strategy's points by number of images."""
        return [point for point in self.points if point.strategy == strategy]


def trace_curve(records: Sequence[CurveRecord], metric: str, strategies: Sequence[str], *, seed: int = 0) -> DataCurve:
    """Compute the curve from its trainings.

    Args:
        records: Trainings tested on the same images in the same order, including the finals on all training images.
        metric: Name of a metric that a study can maximize.
        strategies: Names of the strategies in the order of the result.
        seed: Seed of the draws.

    Raises:
        ValueError: There are no trainings, or they were tested on different images.
    """
    if not records:
        raise ValueError("no trainings to compare")
    labels = records[0].final.labels
    if any(not np.array_equal(record.final.labels, labels) for record in records):
        raise ValueError("the trainings were not tested on the same images")
    sizes = sorted({record.images for record in records})
    comparisons = (len({record.final.strategy for record in records}) - 1) * len(sizes)
    points = [
        point
        for images in sizes
        for point in _points(
            [record.final for record in records if record.images == images], images, metric, labels, comparisons, seed
        )
    ]
    ordered = tuple(point for name in strategies for point in points if point.strategy == name)
    projections = _projections(records, metric, strategies, seed)
    return DataCurve(metric, ordered, _crossovers(ordered, strategies), len(labels), projections)


def _projections(
    records: Sequence[CurveRecord], metric: str, strategies: Sequence[str], seed: int
) -> tuple[Projection, ...]:
    found = []
    for name in strategies:
        own = sorted((each for each in records if each.final.strategy == name), key=lambda each: each.images)
        sizes = [(images, [each.final for each in group]) for images, group in groupby(own, key=lambda e: e.images)]
        if sizes:
            found.append(project(name, sizes, metric, seed))
    return tuple(found)


def _points(
    finals: Sequence[FinalRecord],
    images: int,
    metric: str,
    labels: NDArray[np.int64],
    comparisons: int,
    seed: int,
) -> list[CurvePoint]:
    """Return the points of all strategies at one number of training images."""
    groups: dict[str, list[FinalRecord]] = {}
    # Sorted, so that the answer does not depend on the order in which the trainings ended.
    for final in sorted(finals, key=lambda final: (final.strategy, final.seed)):
        groups.setdefault(final.strategy, []).append(final)
    weighers = [[weighted(metric, final.probabilities, labels) for final in group] for group in groups.values()]
    drawn = draw_scores(weighers, labels, seed=seed, draws=draws_of(metric))
    draws = dict(zip(groups, drawn.scores.T, strict=True))
    scores = {name: tuple(final.test_score for final in group) for name, group in groups.items()}
    points = []
    for name in groups:
        interval = central_interval(draws[name], 1)
        if name == BASELINE or BASELINE not in groups:
            points.append(CurvePoint(name, images, scores[name], interval))
            continue
        difference = float(np.mean(scores[name]) - np.mean(scores[BASELINE]))
        of_difference = central_interval(draws[name] - draws[BASELINE], comparisons)
        points.append(CurvePoint(name, images, scores[name], interval, difference, of_difference))
    return points


def _crossovers(points: Sequence[CurvePoint], strategies: Sequence[str]) -> tuple[Crossover, ...]:
    found = []
    for name in strategies:
        compared = [point for point in points if point.strategy == name and point.difference is not None]
        ahead: list[CurvePoint] = []
        for point in sorted(compared, key=lambda point: -point.images):
            if point.difference is None or point.difference <= 0:
                break
            ahead.append(point)
        above = sorted(point.images for point in compared if (point.difference or 0) > 0)
        earlier = tuple(images for images in above if images not in {point.images for point in ahead})
        if compared:
            found.append(Crossover(name, ahead[-1] if ahead else None, len(ahead) == len(compared), earlier))
    return tuple(found)
