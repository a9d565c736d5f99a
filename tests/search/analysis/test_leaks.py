"""Scores without the leaked test images, against scikit-learn; and when the verdict says a leak."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from frostline.search.analysis import measure_leaks, reach_verdict
from frostline.search.records import FinalRecord

IMAGES = 300


def make_finals() -> list[FinalRecord]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, IMAGES)
    finals = []
    for strategy, skill in (("full", 0.9), ("partial", 0.7)):
        for seed in range(2):
            taken = np.where(rng.random(IMAGES) < skill, labels, rng.integers(0, 3, IMAGES))
            test = float(np.mean(taken == labels))
            sure = np.eye(3, dtype=np.float32)[taken]
            finals.append(FinalRecord(strategy, 0, seed, test, test, 1.0, 10, labels, sure))
    return finals


def test_scores_without_leaks_are_those_of_the_other_images() -> None:
    finals, leaked = make_finals(), [3, 5, 200]
    leaks = measure_leaks(finals, "balanced_accuracy", leaked)
    assert leaks is not None
    for strategy in ("full", "partial"):
        own = [
            balanced_accuracy_score(np.delete(final.labels, leaked), np.delete(final.predictions, leaked))
            for final in finals
            if final.strategy == strategy
        ]
        assert leaks.scores[strategy] == pytest.approx(np.mean(own))
    assert leaks.share == 3 / IMAGES


@pytest.mark.parametrize(("number", "said"), [(1, False), (3, False), (4, True), (60, True)])
def test_the_verdict_says_a_leak_above_one_percent(number: int, said: bool) -> None:
    finals = make_finals()
    verdict = reach_verdict(finals, "accuracy")
    leaks = measure_leaks(finals, "accuracy", range(number))
    sentence = replace(verdict, leaks=leaks).sentence()
    assert verdict.sentence() in sentence
    assert (f"{number} of 300 test images ({number / 3:.1f} %) are also in the training" in sentence) == said
    assert ("Remove the copies" in sentence) == said


def test_a_verdict_on_leaked_images_warns_of_itself_first() -> None:
    finals = make_finals()
    verdict = reach_verdict(finals, "accuracy")
    few, many = (measure_leaks(finals, "accuracy", range(int(share * IMAGES))) for share in (0.05, 0.15))
    assert replace(verdict, leaks=few).sentence().startswith(verdict.sentence())
    assert replace(verdict, leaks=many).sentence().startswith(f"Not to be trusted: {verdict.sentence()} But ")


def test_another_leader_without_the_leaked_images_is_named() -> None:
    """The winner knows the leaked images by heart and is worse on the others."""
    labels = np.zeros(100, dtype=np.int64)
    knows, better = np.zeros(100, dtype=np.int64), np.zeros(100, dtype=np.int64)
    knows[60:] = 1
    better[:30], better[90:] = 1, 1
    both = [
        FinalRecord(name, 0, 0, 0.5, float(np.mean(taken == 0)), 1.0, 1, labels, np.eye(2, dtype=np.float32)[taken])
        for name, taken in (("knows", knows), ("better", better))
    ]
    leaks = measure_leaks(both, "accuracy", range(50))
    assert leaks is not None
    assert "without them, knows has 20.0 % test accuracy and better 80.0 %" in leaks.sentence("knows")


def test_a_test_split_that_is_wholly_in_train_leaves_nothing_to_score() -> None:
    finals = make_finals()
    leaks = measure_leaks(finals, "accuracy", range(IMAGES))
    assert leaks is not None
    assert leaks.scores == {}
    assert "300 of 300 test images (100.0 %)" in leaks.sentence("full")
    assert "too few are left" in leaks.sentence("full")


def test_without_a_leak_there_is_nothing_to_measure() -> None:
    assert measure_leaks(make_finals(), "accuracy", []) is None


def test_images_of_a_group_leak_too_and_copies_among_them_count_once() -> None:
    finals = make_finals()
    copies, both, groups = ([0, 1], []), ([0, 1], range(1, 40)), ([], range(1, 40))
    counts = [
        (leaks.images, leaks.grouped)
        for pair in (copies, both, groups)
        if (leaks := measure_leaks(finals, "accuracy", *pair))
    ]
    assert counts == [(2, 0), (40, 38), (39, 39)]
    sentences = [
        leaks.sentence("full") for pair in (both, groups) if (leaks := measure_leaks(finals, "accuracy", *pair))
    ]
    assert "are also in, or of groups that are in, the training or validation images" in sentences[0]
    assert "Give each group one split, and remove the copies, which the report lists" in sentences[0]
    assert "39 of 300 test images (13.0 %) are of groups that are also in the training" in sentences[1]
    assert "Give each group one split, which the report lists" in sentences[1]
    without = measure_leaks(finals, "accuracy", range(1, 40))
    assert without is not None
    leaks = measure_leaks(finals, "accuracy", *groups)
    assert leaks is not None
    assert leaks.scores == without.scores
