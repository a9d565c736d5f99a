"""Lists of faults for people: all of them, the first with pictures, what is missing without images."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from frostline.dashboards.report.fault_lists import list_faults
from frostline.dashboards.report.report import render_report
from frostline.dashboards.terminal import print_faults
from frostline.objectives.data import Copies, DataFaults, FoundImage, Gallery, LabelError, StraddlingGroup
from frostline.search.study import StudyResults

LEAKS = 20


@pytest.fixture(scope="session")
def leaky_gallery(gallery: Gallery) -> Gallery:
    """The images of the test split, and as many others after them."""
    names = (*gallery.names, *(f"train/{place}.jpg" for place in range(len(gallery.names))))
    canvas = np.concatenate([gallery.canvas, gallery.canvas])
    return replace(gallery, names=names, canvas=canvas, labels=np.concatenate([gallery.labels, gallery.labels]))


@pytest.fixture(scope="session")
def faults(leaky_gallery: Gallery) -> DataFaults:
    def found(row: int, split: str) -> FoundImage:
        return FoundImage(leaky_gallery.names[row], split, int(leaky_gallery.labels[row]), row, row % 90)

    return DataFaults(
        copies=tuple(Copies((found(row, "test"), found(90 + row, "train")), exact=row > 0) for row in range(LEAKS)),
        label_errors=(LabelError(found(95, "train"), 1, 0.93, 0.02),),
        never_right=(2,),
        test_images=90,
    )


@pytest.fixture(scope="session")
def leaky(results: StudyResults, faults: DataFaults) -> StudyResults:
    return replace(results, data_faults=faults)


def test_the_first_are_shown_and_the_others_named(leaky: StudyResults, leaky_gallery: Gallery) -> None:
    leaks, errors, unlearned = list_faults(leaky, leaky_gallery)
    assert leaks.title.endswith(f": {LEAKS}")
    assert len(leaks.shown) + len(leaks.names) == LEAKS
    assert [entry.remark for entry in leaks.shown[:2]] == ["nearly the same", ""]
    assert [picture.split for picture in leaks.shown[0].pictures] == ["test", "train"]
    assert all(picture.thumbnail for entry in leaks.shown[:3] for picture in entry.pictures)
    assert leaks.names[-1] == f"{leaky_gallery.names[LEAKS - 1]}, train/{LEAKS - 1}.jpg"
    assert errors.shown[0].remark == "taken for rose & tulip, 93.0 % sure"
    assert "<script>" in unlearned.advice, "the page escapes it"


def test_groups_in_several_splits_are_listed_with_their_counts(
    results: StudyResults, faults: DataFaults, leaky_gallery: Gallery
) -> None:
    examples = faults.copies[0].images
    groups = tuple(
        StraddlingGroup(f"patient <{number}>", {"train": 5, "test": 2}, (2 * number, 2 * number + 1), examples)
        for number in range(15)
    )
    grouped = replace(results, data_faults=DataFaults(test_images=90, straddling=groups))
    (listed,) = list_faults(grouped, leaky_gallery)
    assert listed.title == "Groups that are in several splits: 15"
    assert [len(listed.shown), len(listed.names)] == [12, 3]
    assert [picture.split for picture in listed.shown[0].pictures] == ["test", "train"]
    assert listed.names[-1] == "patient <14>: 5 train, 2 test"
    assert "patient &lt;0&gt;: 5 train, 2 test" in render_report(grouped, leaky_gallery)


def test_other_images_are_not_shown_in_their_place(leaky: StudyResults, leaky_gallery: Gallery) -> None:
    renamed = replace(leaky_gallery, names=tuple(f"other {name}" for name in leaky_gallery.names))
    for gallery in (None, renamed):
        lists = list_faults(leaky, gallery)
        assert not any(picture.thumbnail for each in lists for entry in each.shown for picture in entry.pictures)


def test_the_page_counts_them_and_has_the_scores_without_them(leaky: StudyResults, leaky_gallery: Gallery) -> None:
    page = render_report(leaky, leaky_gallery)
    assert "20 of 90 test images (22.2\u00a0%) are also in the training or validation images" in page
    assert "without the 20 leaked" in page
    # Pictures of noise are large: the budget ends before the list does.
    assert 6 <= page.count('alt="train/') <= 13
    assert "<script>alert(1)</script>" not in page
    assert 'href="#faults-title"' in page


def test_a_page_of_data_without_faults_has_no_such_section(results: StudyResults) -> None:
    assert "faults-title" not in render_report(replace(results, data_faults=DataFaults(test_images=90)))
    assert "faults-title" not in render_report(results)


def test_the_terminal_prints_counts_and_scores(leaky: StudyResults, results: StudyResults) -> None:
    console = Console(width=80, record=True, file=io.StringIO())
    print_faults(console, leaky)
    printed = re.sub(r"\s+", " ", console.export_text())
    assert "Faults in the data: 20 of 90 test images (22.2 %)" in printed
    leaks = leaky.verdict.leaks if leaky.verdict else None
    assert leaks is not None
    for strategy, score in leaks.scores.items():
        assert re.search(rf"{strategy} [\d.]+ {100 * score:.1f}", printed)
    print_faults(console, results)
    assert console.export_text().strip() == ""


def test_the_terminal_says_who_gets_no_image_of_a_class_right(
    results: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StudyResults, "never_right", ["rose", "tulip"])
    console = Console(record=True, width=200, file=io.StringIO())
    print_faults(console, replace(results))
    assert results.verdict is not None
    winner = results.verdict.winner.strategy
    assert f"{winner} gets no test image of these classes right: rose, tulip." in console.export_text()
