"""The confusion matrix of a finalist on the test images, over all its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ...search.records import FinalRecord
from ..formats import percent
from ..tables import Column, TextTable

# Number of classes above which the matrix is not shown, only its most frequent confusions.
MAX_CLASSES = 20
_PAIRS_SHOWN = 10


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of a finalist.

    Attributes:
        strategy: Name of the finalist's strategy.
        seeds: Number of trainings counted together.
        classes: Names of the classes.
        counts: Numbers of predictions, int64, shape (K, K): true classes in rows, predicted classes in columns.

    Examples:
        >>> import numpy as np
        >>> from frostline.dashboards.report.confusion import Confusion
        >>> confusion = Confusion("full", 1, ("cat", "dog"), np.array([[3, 1], [0, 4]]))
        >>> confusion.shares.tolist()
        [[0.75, 0.25], [0.0, 1.0]]
        >>> confusion.images
        [4, 4]
    """

    strategy: str
    seeds: int
    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Shares of each true class by predicted class, shape (K, K): rows sum to 1, or to 0 without images."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return self.counts / np.maximum(totals, 1)

    @property
    def images(self) -> list[int]:
        """Number of test images of each class."""
        return (self.counts.sum(axis=1) // self.seeds).tolist()

    @property
    def fits(self) -> bool:
        """Whether the matrix is small enough to be shown."""
        return len(self.classes) <= MAX_CLASSES


def confuse(finals: Sequence[FinalRecord], classes: tuple[str, ...]) -> Confusion:
    """Return the confusion matrix of the trainings of one finalist."""
    labels = range(len(classes))
    counts = sum(confusion_matrix(final.labels, final.predictions, labels=labels) for final in finals)
    return Confusion(finals[0].strategy, len(finals), classes, np.asarray(counts, dtype=np.int64))


def frequent_confusions(confusion: Confusion) -> TextTable:
    """Return the table of the most frequent confusions, by share of the true class's images."""
    shares, n = confusion.shares, len(confusion.classes)
    pairs = [(true, taken) for true in range(n) for taken in range(n) if true != taken and shares[true, taken] > 0]
    pairs.sort(key=lambda pair: -shares[pair])
    rows = tuple(
        (
            confusion.classes[true],
            confusion.classes[taken],
            f"{confusion.counts[true, taken]} of {confusion.counts[true].sum()}",
            percent(float(shares[true, taken])),
        )
        for true, taken in pairs[:_PAIRS_SHOWN]
    )
    columns = (
        Column("images of", numeric=False),
        Column("taken for", numeric=False),
        Column("predictions"),
        Column("share"),
    )
    return TextTable(columns, rows)
