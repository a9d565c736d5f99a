"""Finals whose true scores are known, for benchmarks of the verdict.

A final is right or wrong on each test image. How hard an image is for all strategies and for one of them, and how well
a seed did, are normal variables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from frostline.objectives.metrics import score
from frostline.search.records import FinalRecord

Floats = NDArray[np.float64]
SKILL = 0.8
# Standard deviations, in units of the noise of one answer: how hard an image is for all, and for one strategy.
SHARED, OWN = 1.0, 0.5


@dataclass(frozen=True)
class Cell:
    """Finals to simulate.

    Attributes:
        strategies: Number of strategies, K.
        seeds: Number of seeds of each.
        images: Number of test images.
        spreads: Standard deviation over seeds, points: of all strategies, or one for each.
        metric: Name of the metric.
        classes: Share of the test images of each class.
    """

    strategies: int
    seeds: int
    images: int
    spreads: tuple[float, ...]
    metric: str = "accuracy"
    classes: tuple[float, ...] = (0.25,) * 4

    @property
    def names(self) -> list[str]:
        """Names of the strategies."""
        return [f"strategy {number:02}" for number in range(self.strategies)]


class Finals:
    """Finals of strategies whose true scores are known.

    Args:
        cell: What to simulate.
        gaps: By how much each strategy's share of right answers is smaller than the best (K,), or 0 for equal ones.
        rng: Source of randomness.
    """

    def __init__(self, cell: Cell, gaps: Floats | float, rng: np.random.Generator) -> None:
        self._cell, self._rng = cell, rng
        counts = np.maximum(1, np.round(np.array(cell.classes) * cell.images).astype(int))
        counts[0] += cell.images - counts.sum()
        self.labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
        total = np.sqrt(1 + SHARED**2 + OWN**2)
        self._level = scipy.stats.norm.ppf(SKILL - np.broadcast_to(gaps, cell.strategies)) * total
        # Points of score to units of the noise, where the skill is.
        self._spread = (
            np.resize(cell.spreads, cell.strategies) / 100 * total / scipy.stats.norm.pdf(self._level / total)
        )

    def draw(self) -> list[FinalRecord]:
        """Return the finals of all strategies and seeds."""
        cell, normal = self._cell, self._rng.normal
        hard = normal(size=cell.images) * SHARED
        found = []
        for name, level, spread in zip(cell.names, self._level, self._spread, strict=True):
            shared = level + hard + normal(size=cell.images) * OWN
            for seed in range(cell.seeds):
                probabilities = self._probabilities(shared + normal() * spread + normal(size=cell.images))
                reached = score(cell.metric, probabilities, self.labels)
                found.append(FinalRecord(name, 0, seed, reached, reached, 1.0, 1, self.labels, probabilities))
        return found

    def _probabilities(self, margin: Floats) -> NDArray[np.float32]:
        """Probabilities (N, C): the true class is the most probable where the margin is above 0."""
        classes = len(self._cell.classes)
        wrong = (self.labels + 1 + self._rng.integers(classes - 1, size=len(margin))) % classes
        right = scipy.stats.norm.cdf(margin)
        probabilities = np.zeros((len(margin), classes))
        rows = np.arange(len(margin))
        probabilities[rows, self.labels] = right
        probabilities[rows, wrong] += 1 - right
        return probabilities.astype(np.float32)
