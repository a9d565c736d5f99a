"""The data audit of the report: images by class and split, image sizes, and warnings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...objectives.data import Gallery
from ...search.study import StudyFacts
from ..tables import Column, TextTable

# Ratio of the largest to the smallest class above which a remark is made; the default metric changes there too.
_IMBALANCED = 3.0
# Number of test images of a class below which its results mean little.
_FEW_TESTED = 20


@dataclass(frozen=True)
class DataAudit:
    """The data section of the report.

    Attributes:
        counts: Table of images by class and split; None for studies of versions that did not store them.
        sizes: Pixel sizes of the files in words; None if unknown.
        remarks: Warnings about the data.
    """

    counts: TextTable | None
    sizes: str | None
    remarks: tuple[str, ...]


def audit(facts: StudyFacts, gallery: Gallery | None) -> DataAudit:
    """Return the audit of a study's data.

    Args:
        facts: Facts that the study recorded about its data.
        gallery: Images of the study; None if they are not available.
    """
    sizes = None if gallery is None or gallery.pixels is None else _sizes(gallery.pixels)
    return DataAudit(_counts(facts) if facts.class_counts else None, sizes, tuple(_remarks(facts)))


def _counts(facts: StudyFacts) -> TextTable:
    splits = list(facts.class_counts)
    columns = (Column("class", numeric=False), *(Column(split) for split in splits), Column("all"))
    rows = [
        (name, *(f"{facts.class_counts[split][name]:,}" for split in splits), f"{_all(facts, name):,}")
        for name in facts.classes
    ]
    totals = ("all", *(f"{facts.counts[split]:,}" for split in splits), f"{sum(facts.counts.values()):,}")
    return TextTable(columns, (*rows, totals), emphasised=len(rows))


def _all(facts: StudyFacts, name: str) -> int:
    return sum(counts[name] for counts in facts.class_counts.values())


def _sizes(pixels: np.ndarray) -> str:
    """Return range and median of the image sizes in words."""
    (low_width, low_height), (width, height), (high_width, high_height) = (
        np.percentile(pixels, share, axis=0).round().astype(int) for share in (0, 50, 100)
    )
    if (low_width, low_height) == (high_width, high_height):
        return f"all {width} × {height} pixels"
    return (
        f"median {width} × {height} pixels; widths {low_width} to {high_width}, heights {low_height} to {high_height}"
    )


def _remarks(facts: StudyFacts) -> list[str]:
    remarks = []
    train, test = facts.class_counts.get("train"), facts.class_counts.get("test")
    if train:
        small, large = min(train, key=train.__getitem__), max(train, key=train.__getitem__)
        if train[large] > _IMBALANCED * train[small]:
            remarks.append(
                f"Classes differ in size: {train[large]:,} training images of {large}, {train[small]:,} of {small}."
            )
    if test and min(test.values()) < _FEW_TESTED:
        few = [name for name in test if test[name] < _FEW_TESTED]
        named = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if len(few) > 5 else "")
        remarks.append(
            f"These classes have fewer than {_FEW_TESTED} test images, so their own scores mean little: {named}."
        )
    return remarks
