"""What the labels of a table are: one class an image, or the targets of another task, which is then named."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

# Number of different fractions above which numbers are no classes.
_MOST_FRACTIONS = 10
# Fewer labels than these say nothing about how often each occurs.
_FEW = 10
_SEPARATORS = "|;,"
_BOX = frozenset(
    (
        *("xmin", "ymin", "xmax", "ymax", "x_min", "y_min", "x_max", "y_max"),
        *("bbox", "boxes", "bounding_box", "objects"),
        *("bbox_x", "bbox_y", "x_center", "y_center", "segmentation", "polygon", "rle", "encodedpixels"),
    )
)
_ONE_CLASS = "Frostline classifies images with one class each"


def target_fault(column: str, labels: Sequence[str]) -> str | None:
    """Why labels are not one class an image; None if they are.

    Args:
        column: Name of their column.
        labels: Label of each image.

    Example:
        >>> from frostline.objectives.data.target_kinds import target_fault
        >>> target_fault("tags", ["cat|dog", "cat", "dog", "cat"])
        "Column 'tags' has several labels an image (multi-label), such as 'cat|dog'. Frostline classifies images with \
one class each: leave these images out, or make one class of each combination."
    """
    counts = Counter(labels)
    listed = next((label for label in counts if label[0] in "[{" and label[-1] in "]}"), None)
    if listed is not None:
        kind = "boxes or masks (detection, segmentation)" if listed.count("[") > 1 else "lists (multi-label)"
        return f"Column {column!r} has {kind}, such as {listed[:40]!r}. {_ONE_CLASS}: give a column with its name."
    if several := _several_labels(counts):
        return (
            f"Column {column!r} has several labels an image (multi-label), such as {several!r}. {_ONE_CLASS}: leave "
            "these images out, or make one class of each combination."
        )
    once = len(labels) > _FEW and sum(count == 1 for count in counts.values()) > len(counts) / 2
    numbers = [_number(label) for label in counts]
    if all(number is not None for number in numbers):
        fractions = any(number is not None and not number.is_integer() for number in numbers)
        if once or (fractions and len(counts) > _MOST_FRACTIONS):
            return (
                f"Column {column!r} has {len(counts):,} different numbers, as targets of a regression have. "
                f"{_ONE_CLASS}: name another with --label-column, or divide the numbers into a few ranges."
            )
    if once:
        return (
            f"Column {column!r} has {len(counts):,} different texts in {len(labels):,} rows, most of them once, as "
            "names or captions are. Name the column of the classes with --label-column."
        )
    return None


def other_task(columns: Collection[str], *, repeated: bool) -> str | None:
    """The task for which a table without one label an image is made; None if its columns do not tell.

    Args:
        columns: Names of its columns.
        repeated: Whether images are in several rows.
    """
    boxes = [name for name in columns if name.casefold() in _BOX]
    if not boxes:
        return None
    shown = ", ".join(boxes[:4])
    how = "and several rows an image" if repeated else "and no column of labels"
    return (
        f"has columns of boxes or masks ({shown}) {how}: detection or segmentation. {_ONE_CLASS}: cut each object out "
        "into an image of its own, and list those."
    )


def one_hot(columns: Sequence[str], cells: Sequence[Sequence[str | None]]) -> list[str]:
    """Names of the columns that hold nothing but 0 and 1, and both, if there are two or more."""
    marks = {"0", "1", "0.0", "1.0", "False", "True"}
    found = [name for name, own in zip(columns, cells, strict=True) if None not in own and _are_marks(own, marks)]
    return found if len(found) > 1 else []


def _are_marks(cells: Sequence[str | None], marks: set[str]) -> bool:
    return set(cells) <= marks and len(set(cells)) == 2


def _several_labels(counts: Counter[str]) -> str | None:
    """A label that consists of others; a comma alone is no sign: 'tench, Tinca tinca' is the name of one class."""
    for separator in _SEPARATORS:
        parts = {label: {part.strip() for part in label.split(separator)} for label in counts}
        known = Counter(part for own in parts.values() for part in own)
        for label, own in parts.items():
            if len(own) > 1 and all(known[part] > 1 for part in own):
                return label
    return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
