"""The table of a manifest: its cells as text, its rows named as people count them, and the images it may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .listing import Embedded

# Words that programs write where a value is missing. NA and None may be classes.
_MISSING = frozenset(("", "nan", "NaN", "<NA>"))
_SHOWN = 3

Cells = list[str | None]


@dataclass(frozen=True)
class ImageCells:
    """The images in the cells of a column.

    Attributes:
        held: For each row, whether its cell holds the image, and not only a path.
        content: Gives the image of a row that holds one.
    """

    held: Sequence[bool]
    content: Callable[[int], Embedded]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        name: Name of the file, for people.
        columns: Names of the columns, in their order.
        unit: What a row is called: ``line`` of a text, ``row`` of a table.
        numbers: Number of each row; the header is line 1. In a table of several files, with the file: ``a.csv:2``.
        nested: Columns whose cells hold no plain values, with what they hold.
        read: Gives the cells of a column, by its name; None for those that are missing. For images, their paths.
        images: For columns that may hold images, what gives them.
        features: What a column was declared to be by the library ``datasets``: ``Image``, ``ClassLabel``, ...
        title: Name of the dataset, where that of its file or folder says nothing.
    """

    name: str
    columns: tuple[str, ...]
    unit: str
    numbers: Sequence[int | str]
    nested: Mapping[str, str]
    read: Callable[[str], Cells]
    images: Mapping[str, Callable[[], ImageCells]] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    title: str = ""

    def places(self, rows: Sequence[int]) -> str:
        """Where rows are, by their positions, in words.

        >>> from frostline.objectives.data.manifest_table import Table
        >>> Table("photos.csv", ("path",), "line", range(2, 99), {}, lambda name: []).places([0, 1, 7, 8, 9])
        'lines 2, 3, 9 and 2 more'
        """
        shown = ", ".join(str(self.numbers[row]) for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
        return f"{self.unit}{'s' * (len(rows) > 1)} {shown}{more}"


def cell_text(value: Any) -> str | None:
    """A value as the text of a cell; None if it is missing."""
    if value is None:
        return None
    # Whole numbers beside missing ones are stored as floats.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return None if text in _MISSING else text


def first_line(error: Exception) -> str:
    """The first line of an error's message, without a full stop."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
