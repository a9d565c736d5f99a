"""scikit-learn's handwritten digits, whole or in part: a real dataset without a download."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidInputError, unknown_name
from .listing import Item, Listing


def list_digits(name: str) -> Listing:
    """List ``digits``, ``digits[5-9]``, ``digits@200``...; see :func:`list_source`.

    Raises:
        InvalidInputError: The name is no part of the digits, or asks for too few or too many images.

    Example:
        >>> from frostline.objectives.data.sklearn_digits import list_digits
        >>> listing = list_digits("digits[0,1]@100")
        >>> listing.classes, sum(item.split == "train" for item in listing.items)
        (('0', '1'), 100)
    """
    from sklearn.datasets import load_digits  # slow to import, and rarely needed

    parts = re.fullmatch(r"(?P<set>\w*)(\[(?P<classes>[^\]]*)\])?(@(?P<limit>.+))?", name)
    if parts is None or parts["set"] != "digits":
        raise InvalidInputError(
            unknown_name("dataset", f"sklearn:{name}", ("sklearn:digits", "sklearn:digits[5-9]@200"))
        )
    chosen = _parse_digits(name, parts["classes"])
    bunch: Any = load_digits()
    rows = np.flatnonzero(np.isin(bunch.target, chosen))
    labels = np.searchsorted(chosen, bunch.target[rows])
    splits = _limited(name, labels, len(chosen), parts["limit"])
    pixels = np.round(bunch.images[rows] * (255 / 16)).astype(np.uint8)
    items = (
        Item(f"{row:04d}", int(label), split, partial(Image.fromarray, image))
        for row, label, split, image in zip(rows, labels, splits, pixels, strict=True)
    )
    return Listing(f"sklearn:{name}", tuple(str(digit) for digit in chosen), tuple(items))


def _parse_digits(name: str, text: str | None) -> list[int]:
    if text is None:
        return list(range(10))
    chosen: set[int] = set()
    for part in text.split(","):
        span = re.fullmatch(r"\s*([0-9])\s*(?:-\s*([0-9])\s*)?", part)
        if span is None or (span[2] or span[1]) < span[1]:
            raise InvalidInputError(
                f"sklearn:{name}: {part!r} is not a digit or a range. Write for example [5-9] or [0,1,4]."
            )
        chosen.update(range(int(span[1]), int(span[2] or span[1]) + 1))
    return sorted(chosen)


def _limited(name: str, labels: np.ndarray, classes: int, limit: str | None) -> list[str | None]:
    """Splits for ``@N``: N images go to train, the others to test; the validation images are later carved out of N."""
    if limit is None:
        return [None] * len(labels)
    from sklearn.model_selection import train_test_split

    low, high = 2 * classes, len(labels) - classes
    if not limit.isdecimal() or not low <= int(limit) <= high:
        raise InvalidInputError(
            f"sklearn:{name}: @{limit} is not possible. Write a number from {low} to {high} after the @."
        )
    positions = np.arange(len(labels))
    taught, _ = train_test_split(positions, train_size=int(limit), stratify=labels, random_state=0)
    return np.where(np.isin(positions, taught), "train", "test").tolist()
