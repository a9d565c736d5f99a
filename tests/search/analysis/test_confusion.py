"""Confusions and worst mistakes, against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix

from frostline.search.analysis.confusion import confusion_of, worst_mistakes

LABELS = np.array([0, 0, 1, 1, 2])
PROBABILITIES = np.array(
    [[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.2, 0.8, 0.0], [0.95, 0.05, 0.0], [0.0, 0.7, 0.3]], dtype=np.float32
)


@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_confusion_is_that_of_scikit_learn(images: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    probabilities = rng.dirichlet(np.ones(classes), images).astype(np.float32)
    found = confusion_of(labels, probabilities, [f"class {number}" for number in range(classes)])
    expected = confusion_matrix(labels, probabilities.argmax(axis=1), labels=range(classes))
    assert (found.counts == expected).all()
    assert np.isclose(found.shares.sum(axis=1), expected.sum(axis=1) > 0).all()


@given(st.integers(1, 5), st.integers(1, 40), st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_several_trainings_are_counted_together(trainings: int, images: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    probabilities = rng.dirichlet(np.ones(classes), (trainings, images)).astype(np.float32)
    found = confusion_of(labels, probabilities, [f"class {number}" for number in range(classes)])
    expected = confusion_matrix(np.tile(labels, trainings), probabilities.argmax(axis=2).ravel(), labels=range(classes))
    assert (found.counts == expected).all()
    assert found.images == [int((labels == number).sum()) for number in range(classes)]


def test_mistakes_of_several_trainings_are_those_of_their_mean() -> None:
    sure_and_right = np.array([[0.9, 0.1, 0.0]] * 5, dtype=np.float32)
    mistakes = worst_mistakes(LABELS, np.stack([PROBABILITIES, sure_and_right]), 5)
    # The mean is right about images 0 and 1; a single training is wrong about image 1 too.
    assert [(each.image, each.predicted, each.wrong) for each in mistakes] == [(3, 0, 2), (2, 0, 1), (4, 0, 2)]
    assert np.allclose([each.probability for each in mistakes], [0.925, 0.55, 0.45])
    assert np.allclose([each.label_probability for each in mistakes], [0.075, 0.45, 0.15])


def test_the_surest_mistakes_come_first() -> None:
    mistakes = worst_mistakes(LABELS, PROBABILITIES, 5)
    # Images 1 and 4 are equally sure: the earlier one first. Images 0 and 2 are no mistakes.
    assert [(each.image, each.label, each.predicted) for each in mistakes] == [(3, 1, 0), (1, 0, 1), (4, 2, 1)]
    assert np.allclose([each.probability for each in mistakes], [0.95, 0.7, 0.7])
    assert np.allclose([each.label_probability for each in mistakes], [0.05, 0.3, 0.3])


def test_no_more_than_asked_for_and_none_where_all_is_right() -> None:
    assert [each.image for each in worst_mistakes(LABELS, PROBABILITIES, 1)] == [3]
    assert worst_mistakes(LABELS[:1], PROBABILITIES[:1], 5) == []
