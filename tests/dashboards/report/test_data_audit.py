"""The data's audit against its facts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from frostline.dashboards.report.data_audit import audit
from frostline.objectives.data.gallery import Gallery
from frostline.search.study.results import StudyResults


def gallery(pixels: list[tuple[int, int]]) -> Gallery:
    n = len(pixels)
    empty = np.zeros(0, dtype=np.int64)
    return Gallery(("a",) * n, np.zeros((n, 2, 2, 3), dtype=np.uint8), empty, empty, np.array(pixels))


def test_counts_add_up(results: StudyResults) -> None:
    counts = audit(results.facts, None).counts
    assert counts is not None
    *classes, totals = ([int(cell) for cell in row[1:]] for row in counts.rows)
    assert [sum(column) for column in zip(*classes, strict=True)] == totals
    assert all(sum(row[:-1]) == row[-1] for row in classes)
    assert totals[:-1] == list(results.facts.counts.values())


def test_unequal_classes_and_small_test_splits_are_remarked(results: StudyResults) -> None:
    unequal, few = audit(results.facts, None).remarks
    assert "260 training images of daisy, 80 of rose & tulip" in unequal
    assert few.startswith("These classes have fewer than 20 test images")
    assert "rose & tulip" in few
    assert "daisy" not in few


def test_even_data_are_not_remarked(results: StudyResults) -> None:
    even = {split: dict.fromkeys(results.facts.classes, 40) for split in ("train", "val", "test")}
    assert audit(replace(results.facts, class_counts=even), None).remarks == ()


def test_sizes_are_the_files_own(results: StudyResults) -> None:
    assert audit(results.facts, None).sizes is None
    assert audit(results.facts, gallery([(640, 480)] * 3)).sizes == "all 640 × 480 pixels"
    mixed = audit(results.facts, gallery([(100, 300), (640, 480), (4000, 1000)])).sizes
    assert mixed == "median 640 × 480 pixels; widths 100 to 4000, heights 300 to 1000"
