"""Planted label errors are found; confident learning against its definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from frostline.objectives.data import doubtful_labels, never_right, out_of_fold
from frostline.objectives.data.label_errors import _FOLDS, _STRENGTH, CLEARLY


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_planted_label_errors_are_found(share: float) -> None:
    digits: Any = load_digits()
    rng = np.random.default_rng(0)
    wrong = rng.random(len(digits.target)) < share
    labels = np.where(wrong, (digits.target + rng.integers(1, 10, len(wrong))) % 10, digits.target)
    doubts = doubtful_labels(out_of_fold(digits.data, labels), labels)
    found = np.array([doubt.position for doubt in doubts])
    precision, recall = wrong[found].mean(), wrong[found].sum() / wrong.sum()
    print(f"{share:.0%} of {len(labels)} labels wrong: precision {precision:.2f}, recall {recall:.2f}")
    assert precision >= 0.95
    assert recall >= 0.35
    suggested = np.array([doubt.suggested for doubt in doubts])
    assert (suggested == digits.target[found])[wrong[found]].mean() >= 0.95


def test_clean_labels_are_hardly_doubted() -> None:
    digits: Any = load_digits()
    assert len(doubtful_labels(out_of_fold(digits.data, digits.target), digits.target)) <= 0.005 * len(digits.target)


@pytest.mark.parametrize("classes", [2, 10])
def test_predictions_are_those_of_scikit_learns_cross_validation(classes: int) -> None:
    digits: Any = load_digits()
    chosen = digits.target < classes
    features, labels = digits.data[chosen][:500], digits.target[chosen][:500]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=_STRENGTH, max_iter=10_000, tol=1e-8))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    expected = cross_val_predict(probe, features, labels, cv=folds, method="predict_proba")
    assert out_of_fold(features, labels) == pytest.approx(expected, abs=0.005)


def test_each_prediction_is_out_of_fold() -> None:
    """Labels that are pure chance cannot be predicted by a probe that has not seen them."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(200, 300)), rng.integers(0, 2, 200)
    right = out_of_fold(features, labels).argmax(axis=1) == labels
    assert 0.35 < right.mean() < 0.65


def test_confident_learning_by_its_definition() -> None:
    """Northcutt et al. 2021, equation 1: a class counts if it is as probable as on its own images; and clearly so."""
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, 300)
    probabilities = rng.dirichlet(np.full(4, 0.3), 300)
    usual = [np.mean([p[k] for p, label in zip(probabilities, labels, strict=True) if label == k]) for k in range(4)]
    expected = set()
    for image, (row, label) in enumerate(zip(probabilities, labels, strict=True)):
        other = max((k for k in range(4) if k != label), key=lambda k: row[k])
        if row[other] >= usual[other] and row[other] > CLEARLY * row[label]:
            expected.add((image, other))
    doubts = doubtful_labels(probabilities, labels)
    assert {(doubt.position, doubt.suggested) for doubt in doubts} == expected
    assert [doubt.label_probability for doubt in doubts] == sorted(doubt.label_probability for doubt in doubts)


def test_a_class_of_two_images_can_be_probed() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 20 + [1] * 20 + [2] * 2)
    probabilities = out_of_fold(rng.normal(size=(42, 8)) + labels[:, None], labels)
    assert probabilities.shape == (42, 3)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(42))


def test_a_class_without_images_is_not_called_never_right() -> None:
    assert never_right(np.eye(3)[[0, 0, 0]], np.array([0, 1, 1])) == [1]
