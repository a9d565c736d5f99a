"""The table of a finalist's most frequent confusions."""

from __future__ import annotations

from ...search.analysis import Confusion
from ...search.formats import percent
from ..tables import Column, TextTable

# Number of classes above which the matrix is not shown, only its most frequent confusions.
MAX_CLASSES = 20
_PAIRS_SHOWN = 10


def frequent_confusions(confusion: Confusion) -> TextTable:
    """Return the table of the most frequent confusions, by share of the true class's images."""
    shares = confusion.shares
    rows = tuple(
        (
            confusion.classes[true],
            confusion.classes[taken],
            f"{confusion.counts[true, taken]} of {confusion.counts[true].sum()}",
            percent(float(shares[true, taken])),
        )
        for true, taken in confusion.pairs[:_PAIRS_SHOWN]
    )
    columns = (
        Column("images of", numeric=False),
        Column("taken for", numeric=False),
        Column("predictions"),
        Column("share"),
    )
    return TextTable(columns, rows)
