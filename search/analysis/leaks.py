"""Test images that training or validation images show too, or share a group with; and the scores without them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import find_metric, score
from ..formats import percent
from ..records import FinalRecord

# Share of leaked test images above which the verdict says so.
SAID_ABOVE = 0.01
# And above which it warns of itself.
SERIOUS_ABOVE = 0.1


@dataclass(frozen=True)
class Leaks:
    """The leaked images of a test split.

    Attributes:
        metric: Name of the metric.
        images: Number of leaked test images.
        test_images: Size of the test split.
        grouped: Number of those that are no copies, but of a group with training or validation images.
        scores: Mean test score of each strategy without them, by strategy; empty if too little is left.
    """

    metric: str
    images: int
    test_images: int
    scores: Mapping[str, float]
    grouped: int = 0

    @property
    def share(self) -> float:
        """Return the share of the test images that leaked."""
        return self.images / self.test_images

    @property
    def serious(self) -> bool:
        """Return whether so many test images leaked that the scores mean little."""
        return self.share > SERIOUS_ABOVE

    def sentence(self, winner: str) -> str:
        """Return the leak in one or two sentences; empty up to :data:`SAID_ABOVE`.

        Args:
            winner: The recommended strategy.
        """
        if self.share <= SAID_ABOVE:
            return ""
        verb = "is" if self.images == 1 else "are"
        leak = (
            f"{self.images:,} of {self.test_images:,} test images ({percent(self.share)}) {verb} {self.what} the "
            "training or validation images"
        )
        remove = f"{self._remedy}, which the report lists, and search again."
        if not self.scores:
            return f"But {leak}, and too few are left to score. {remove}"
        return f"But {leak}; without them, {self._clean(winner)}. {remove}"

    @property
    def what(self) -> str:
        """Return how the leaked images are related to the training or validation images."""
        if not self.grouped:
            return "also in"
        return "of groups that are also in" if self.grouped == self.images else "also in, or of groups that are in,"

    @property
    def _remedy(self) -> str:
        if not self.grouped:
            return "Remove the copies"
        return "Give each group one split" + ("" if self.grouped == self.images else ", and remove the copies")

    def _clean(self, winner: str) -> str:
        title, own = find_metric(self.metric).title, self.scores[winner]
        said = f"{winner} has {percent(own)} test {title}"
        best = max(self.scores, key=lambda strategy: self.scores[strategy])
        return said if self.scores[best] <= own else f"{said} and {best} {percent(self.scores[best])}"


def measure_leaks(
    finals: Sequence[FinalRecord], metric: str, leaked: Sequence[int], grouped: Sequence[int] = ()
) -> Leaks | None:
    """Score finals without the leaked test images; return None without a leak.

    Args:
        finals: Finals on the same test images.
        metric: Name of the metric.
        leaked: Positions in the test split of the images that training or validation images show too.
        grouped: Positions of those that share a group with training or validation images.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import measure_leaks
        >>> from frostline.search.records import FinalRecord
        >>> labels, says = np.array([0, 1, 0, 1]), np.eye(2, dtype=np.float32)[[0, 1, 1, 1]]
        >>> final = FinalRecord("full", 3, 1000, 0.75, 0.75, 9.0, 500, labels, says)
        >>> measure_leaks([final], "accuracy", [1, 3]).scores
        {'full': 0.5}
    """
    every = {*leaked, *grouped}
    if not every:
        return None
    labels = finals[0].labels
    clean = np.setdiff1d(np.arange(len(labels)), np.asarray(sorted(every)))
    return Leaks(metric, len(every), len(labels), _scores(finals, metric, clean), len(every.difference(leaked)))


def _scores(finals: Sequence[FinalRecord], metric: str, clean: NDArray[np.int64]) -> dict[str, float]:
    if not len(clean):
        return {}
    seeds: dict[str, list[float]] = {}
    for final in finals:
        own = score(metric, final.probabilities[clean], final.labels[clean])
        seeds.setdefault(final.strategy, []).append(own)
    means = {strategy: float(np.mean(scores)) for strategy, scores in seeds.items()}
    # Some metrics have no value where only one class is left.
    return means if all(map(math.isfinite, means.values())) else {}
