"""Confusions, mistakes and their pictures against counts over the finals."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from frostline.dashboards.report.confusion import MAX_CLASSES, frequent_confusions
from frostline.dashboards.report.error_analysis import ErrorAnalysis, analyze_finalists
from frostline.dashboards.report.mistakes import show_mistakes
from frostline.dashboards.report.thumbnails import SIDE, ThumbnailMaker
from frostline.objectives.data.gallery import Gallery
from frostline.search.analysis.confusion import WORST, errors_of
from frostline.search.records import FinalRecord
from frostline.search.study.results import StudyResults


@pytest.fixture(scope="module")
def finals(results: StudyResults) -> list[FinalRecord]:
    return [final for final in results.finals if final.strategy == "scratch"]


def make_gallery(labels: Any, side: int = 128) -> Gallery:
    """Images of one gray each, the test images among others."""
    n = 2 * len(labels)
    grays = np.linspace(0, 255, n).astype(np.uint8)
    canvas = np.broadcast_to(grays[:, None, None, None], (n, side, side, 3))
    test = np.arange(1, n, 2)
    every = np.zeros(n, dtype=np.int64)
    every[test] = labels
    return Gallery(tuple(f"a/{row}.png" for row in range(n)), canvas, every, test, None)


def test_counts_are_those_of_all_seeds(finals: list[FinalRecord], results: StudyResults) -> None:
    confusion = errors_of(finals, results.facts.classes).confusion
    expected = np.zeros((3, 3), dtype=int)
    for final in finals:
        for label, row in zip(final.labels, final.probabilities, strict=True):
            expected[label, int(np.argmax(row))] += 1
    assert np.array_equal(confusion.counts, expected)
    assert confusion.images == [30, 30, 30]
    assert confusion.shares == pytest.approx(expected / 90)
    # Accuracy is the mean of the diagonal where classes are of the same size.
    assert np.mean(np.diag(confusion.shares)) == pytest.approx(np.mean([final.test_score for final in finals]))


def test_confusions_come_by_share_of_their_class() -> None:
    counts = np.array([[90, 10, 0], [0, 4, 6], [1, 0, 9]])
    (final,) = (make_final(counts),)
    rows = frequent_confusions(errors_of([final], ("a", "b", "c")).confusion).rows
    assert rows == (
        ("b", "c", "6 of 10", "60.0 %"),
        ("a", "b", "10 of 100", "10.0 %"),
        ("c", "a", "1 of 10", "10.0 %"),
    )


def make_final(counts: Any) -> FinalRecord:
    """Predictions that give these counts."""
    pairs = [(true, taken) for (true, taken), count in np.ndenumerate(counts) for _ in range(count)]
    labels, taken = np.array(pairs).T
    probabilities = np.eye(len(counts), dtype=np.float32)[taken]
    return FinalRecord("full", 0, 0, 0.5, float(np.mean(labels == taken)), 1.0, 10, labels, probabilities)


def test_a_class_without_test_images_has_no_shares() -> None:
    final = make_final(np.array([[2, 1, 0], [0, 0, 0], [0, 0, 3]]))
    confusion = errors_of([final], ("a", "b", "c")).confusion
    assert confusion.shares[1].tolist() == [0, 0, 0]
    assert confusion.images == [3, 0, 3]


def test_a_matrix_too_large_to_read_is_not_shown() -> None:
    classes = tuple(str(number) for number in range(MAX_CLASSES + 1))
    confusion = errors_of([make_final(np.eye(len(classes), dtype=int))], classes).confusion
    analysis = ErrorAnalysis("full", confusion, frequent_confusions(confusion), (), True)
    assert not analysis.matrix_fits
    assert analysis.pairs.rows == ()


def test_the_worst_mistakes_are_the_surest_wrong_ones(finals: list[FinalRecord], results: StudyResults) -> None:
    found = errors_of(finals, results.facts.classes).mistakes
    mean = finals[0].probabilities / 3 + finals[1].probabilities / 3 + finals[2].probabilities / 3
    wrong = [
        (float(max(row)), image) for image, row in enumerate(mean) if int(np.argmax(row)) != finals[0].labels[image]
    ]
    expected = sorted(wrong, reverse=True)[:WORST]
    assert [mistake.image for mistake in found] == [image for _, image in expected]
    assert [mistake.probability for mistake in found] == pytest.approx([sure for sure, _ in expected], abs=1e-6)
    for mistake in found:
        label = finals[0].labels[mistake.image]
        assert mistake.label == label
        assert mistake.wrong == sum(int(np.argmax(f.probabilities[mistake.image])) != label for f in finals)


def test_pictures_are_those_of_the_test_images(finals: list[FinalRecord], results: StudyResults) -> None:
    gallery = make_gallery(finals[0].labels)
    for shown in show_mistakes(errors_of(finals, results.facts.classes), gallery, ThumbnailMaker()):
        row = 2 * shown.mistake.image + 1
        assert shown.true == results.facts.classes[finals[0].labels[shown.mistake.image]]
        assert shown.name == f"a/{row}.png"
        assert shown.thumbnail is not None
        head, data = shown.thumbnail.split(",")
        assert head == "data:image/jpeg;base64"
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert picture.size == (SIDE, SIDE)
        assert np.asarray(picture).mean() == pytest.approx(int(gallery.canvas[row, 0, 0, 0]), abs=2)


def test_pictures_end_where_the_budget_does(finals: list[FinalRecord]) -> None:
    gallery = make_gallery(finals[0].labels)
    first = ThumbnailMaker().make(gallery, 0)
    assert first is not None
    thumbnails = ThumbnailMaker(budget=len(first))
    assert [thumbnails.make(gallery, 0), thumbnails.make(gallery, 0)] == [first, None]


def test_the_winner_comes_first_and_all_finalists_follow(results: StudyResults) -> None:
    verdict = results.verdict
    assert verdict is not None
    order = [examination.strategy for examination in analyze_finalists(results, None)]
    assert order[0] == verdict.winner.strategy
    assert sorted(order) == sorted(contender.strategy for contender in verdict.contenders)


def test_images_of_other_classes_are_not_taken_for_the_test_images(results: StudyResults) -> None:
    labels = results.finals[0].labels
    for gallery, shown in ((make_gallery(labels), True), (make_gallery((labels + 1) % 3), False)):
        mistakes = [mistake for each in analyze_finalists(results, gallery) for mistake in each.mistakes]
        assert mistakes
        assert all((mistake.thumbnail is not None) == shown for mistake in mistakes)


def test_there_is_nothing_to_examine_before_the_verdict(undecided: StudyResults) -> None:
    assert analyze_finalists(undecided, None) == []


def test_of_finals_without_probabilities_the_seeds_vote(finals: list[FinalRecord], results: StudyResults) -> None:
    voted = [
        replace(final, classes_only=True, probabilities=np.eye(3, dtype=np.float32)[final.predictions])
        for final in finals
    ]
    results = replace(
        results, finals=tuple(final for final in results.finals if final.strategy != "scratch") + tuple(voted)
    )
    (analysis,) = [each for each in analyze_finalists(results, None) if each.strategy == "scratch"]
    assert not analysis.probabilities_known
    assert analysis.mistakes
    for shown in analysis.mistakes:
        assert shown.mistake.probability == pytest.approx(shown.mistake.wrong / 3)
