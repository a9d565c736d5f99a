"""Which classes a finalist takes for which: all its seeds together, on the test images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix

from ...search.records import FinalRecord
from ..formats import percent
from ..tables import Column, TextTable

# A larger matrix cannot be read; its most frequent confusions are listed all the same.
MOST_CLASSES = 20
_PAIRS_SHOWN = 10


@dataclass(frozen=True)
class Confusion:
    """The predictions of a finalist.

    Attributes:
        strategy: Whose.
        seeds: Trainings that were counted together.
        classes: Names.
        counts: Predictions, all seeds together, int64, shape (K, K): true classes in rows, predicted ones in columns.
    """

    strategy: str
    seeds: int
    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Of each true class, the share predicted as each: rows add up to 1, or are 0 where there are no images."""
        totals = self.counts.sum(axis=1, keepdims=True)
        return self.counts / np.maximum(totals, 1)

    @property
    def images(self) -> list[int]:
        """Test images of each class."""
        return (self.counts.sum(axis=1) // self.seeds).tolist()

    @property
    def fits(self) -> bool:
        """Whether the matrix can be shown."""
        return len(self.classes) <= MOST_CLASSES


def confuse(finals: Sequence[FinalRecord], classes: tuple[str, ...]) -> Confusion:
    """Count what the trainings of one finalist predicted."""
    labels = range(len(classes))
    counts = sum(confusion_matrix(final.labels, final.predictions, labels=labels) for final in finals)
    return Confusion(finals[0].strategy, len(finals), classes, np.asarray(counts, dtype=np.int64))


def frequent_confusions(confusion: Confusion) -> TextTable:
    """The pairs of classes most often confused, by share of the true class's images."""
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
