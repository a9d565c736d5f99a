"""Logistic regression: scikit-learn's minimum at every strength, and the choice among strengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.preprocessing import StandardScaler

from frostline.objectives import logistic_regression
from frostline.objectives.logistic_regression import (
    FOLDS,
    INVERSE_STRENGTHS,
    _folds,
    choose_strength,
    fit_logistic_regression,
    regularization_path,
    solve_probe,
    standardization,
)

Features = NDArray[np.float64]
Labels = NDArray[np.int64]
Case = Callable[[], tuple[Features, Labels]]


def problem(images: int, width: int, classes: int, *, seed: int = 0) -> tuple[Features, Labels]:
    """Overlapping classes: rectified mixtures of 8 factors, whose means tell the class, and noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    factors = rng.normal(size=(images, 8)) + rng.normal(size=(classes, 8))[labels]
    mixed = factors @ rng.normal(size=(8, width)) + 0.5 * rng.normal(size=(images, width))
    return np.maximum(mixed, 0), labels


def plain() -> tuple[Features, Labels]:
    return problem(90, 12, 3)


def more_features_than_images() -> tuple[Features, Labels]:
    return problem(40, 120, 4)


def rank_deficient() -> tuple[Features, Labels]:
    features, labels = problem(60, 6, 3)
    return np.concatenate([features, 2 * features, features[:, :3] - features[:, 3:]], axis=1), labels


def constant_features() -> tuple[Features, Labels]:
    features, labels = problem(60, 6, 3)
    return np.concatenate([features, np.zeros((60, 1)), np.full((60, 1), 0.1)], axis=1), labels


def more_classes_than_images_of_each() -> tuple[Features, Labels]:
    return problem(30, 20, 15)


def unequal_classes() -> tuple[Features, Labels]:
    features, labels = problem(120, 10, 3)
    kept = (labels == 0) | (np.arange(120) < 12)
    return features[kept], labels[kept]


def two_classes() -> tuple[Features, Labels]:
    return problem(80, 12, 2)


def two_images() -> tuple[Features, Labels]:
    return np.array([[0.0, 1.0], [3.0, 1.0]]), np.array([0, 1])


CASES: tuple[Case, ...] = (
    plain,
    more_features_than_images,
    rank_deficient,
    constant_features,
    more_classes_than_images_of_each,
    unequal_classes,
    two_classes,
    two_images,
)


def standardized(case: Case) -> tuple[Features, Labels]:
    features, labels = case()
    return StandardScaler().fit_transform(features), labels


def log_probabilities(features: Features, solution: tuple[Any, Any]) -> Features:
    weight, bias = map(np.asarray, solution)
    return log_softmax(features @ weight.T + bias, axis=1)


def objective(features: Features, labels: Labels, solution: tuple[Any, Any], strength: float) -> float:
    """Mean cross-entropy + |W|^2 / (2 C N), by SciPy; of two classes, W is the difference of their rows."""
    weight, bias = map(np.asarray, solution)
    penalized = np.diff(weight, axis=0) if len(bias) == 2 else weight
    if len(bias) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    loss = -log_probabilities(features, (weight, bias))[np.arange(len(labels)), labels].mean()
    return float(loss + np.square(penalized).sum() / (2 * strength * len(labels)))


def reference(features: Features, labels: Labels, strength: float) -> tuple[Features, Features]:
    """Weight and bias of scikit-learn's L-BFGS, as exact as it can be."""
    model = LogisticRegression(C=strength, tol=1e-9, max_iter=100_000).fit(features, labels)
    return model.coef_, model.intercept_


def path(features: Features, labels: Labels, classes: int | None = None) -> list[tuple[torch.Tensor, torch.Tensor]]:
    count = labels.max() + 1 if classes is None else classes
    return list(regularization_path(torch.tensor(features), torch.tensor(labels), int(count)))


# The minimum ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_every_strength_reaches_scikit_learns_minimum(case: Case):
    features, labels = standardized(case)
    for strength, solution in zip(INVERSE_STRENGTHS, path(features, labels), strict=True):
        expected = objective(features, labels, reference(features, labels, strength), strength)
        assert objective(features, labels, solution, strength) == pytest.approx(expected, abs=1e-4), strength


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_features_of_any_scale_have_their_minimum(scale: float):
    """Scaled features with the penalty scaled as well are the same problem."""
    features, labels = standardized(plain)
    start = torch.zeros(3, 12).double(), torch.zeros(3).double()
    for strength in (1e-3, 1.0, 100.0):
        scaled = strength / scale**2
        solution = fit_logistic_regression(torch.tensor(scale * features), torch.tensor(labels), scaled, start)
        expected = objective(features, labels, reference(features, labels, strength), strength)
        assert objective(scale * features, labels, solution, scaled) == pytest.approx(expected, abs=1e-4)


def test_a_class_without_images_gets_no_probability_and_leaves_the_others_their_minimum():
    features, labels = standardized(plain)
    for strength, solution in zip(INVERSE_STRENGTHS, path(features, labels, classes=4), strict=True):
        expected = objective(features, labels, reference(features, labels, strength), strength)
        assert objective(features, labels, solution, strength) == pytest.approx(expected, abs=1e-4)
        assert np.exp(log_probabilities(features, solution))[:, 3].mean() < 1e-3


def test_a_bad_start_leads_to_the_same_minimum():
    features, labels = standardized(plain)
    rng = np.random.default_rng(1)
    start = torch.tensor(rng.normal(0, 30, size=(3, 12))), torch.tensor(rng.normal(0, 30, size=3))
    for strength in (1e-7, 1e-2, 100.0):
        solution = fit_logistic_regression(torch.tensor(features), torch.tensor(labels), strength, start)
        expected = objective(features, labels, reference(features, labels, strength), strength)
        assert objective(features, labels, solution, strength) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("case", [plain, two_classes], ids=lambda case: case.__name__)
def test_with_a_tight_tolerance_the_probabilities_are_scikit_learns(monkeypatch: pytest.MonkeyPatch, case: Case):
    features, labels = standardized(case)
    monkeypatch.setattr(logistic_regression, "TOLERANCE", 1e-12)
    monkeypatch.setattr(logistic_regression, "LEAST_GAIN", 0.0)
    for strength, solution in zip(INVERSE_STRENGTHS, path(features, labels), strict=True):
        model = LogisticRegression(C=strength, tol=1e-9, max_iter=100_000).fit(features, labels)
        expected = model.predict_proba(features)
        np.testing.assert_allclose(np.exp(log_probabilities(features, solution)), expected, atol=1e-5)


def test_the_same_problem_has_the_same_solution_bit_for_bit():
    features, labels = more_features_than_images()
    for first, second in zip(path(features, labels), path(features, labels), strict=True):
        assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


# The choice -----------------------------------------------------------------------------------------------------------


def choose(features: Features, labels: Labels, seed: int = 0) -> int:
    return choose_strength(torch.tensor(features), torch.tensor(labels), int(labels.max()) + 1, seed)


def folds(labels: Labels, seed: int = 0) -> list[tuple[Labels, Labels]]:
    return [(fitted.numpy(), held.numpy()) for fitted, held in _folds(torch.tensor(labels), seed)]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("case", [plain, two_classes], ids=lambda case: case.__name__)
def test_the_strength_is_the_one_that_scikit_learn_chooses_by_log_loss(case: Case, seed: int):
    features, labels = standardized(case)
    options: dict[str, Any] = {"Cs": INVERSE_STRENGTHS, "l1_ratios": (0.0,), "use_legacy_attributes": False}
    model = LogisticRegressionCV(cv=folds(labels, seed), scoring="neg_log_loss", tol=1e-6, max_iter=20_000, **options)
    assert INVERSE_STRENGTHS[choose(features, labels, seed)] == pytest.approx(model.fit(features, labels).C_)


def test_a_head_on_more_features_than_images_is_that_of_all_features():
    """Against scikit-learn with all of them, at the strength that it chooses from them."""
    features, labels = problem(60, 240, 3)
    mean, deviation = (each.numpy() for each in standardization(torch.tensor(features)))
    standard = (features - mean) / deviation
    options: dict[str, Any] = {"Cs": INVERSE_STRENGTHS, "l1_ratios": (0.0,), "use_legacy_attributes": False}
    model = LogisticRegressionCV(cv=folds(labels), scoring="neg_log_loss", tol=1e-6, max_iter=20_000, **options)
    strength = float(np.ravel(model.fit(standard, labels).C_)[0])
    weight, bias = (each.numpy() for each in solve_probe(torch.tensor(features), torch.tensor(labels), 3))
    unseen = np.random.default_rng(1).normal(size=(50, 240))
    assert objective(standard, labels, (weight * deviation, bias + weight @ mean), strength) == pytest.approx(
        objective(standard, labels, (model.coef_, model.intercept_), strength), abs=2e-5
    )
    expected = model.predict_proba((unseen - mean) / deviation)
    assert np.exp(log_probabilities(unseen, (weight, bias))) == pytest.approx(expected, abs=0.02)


def test_every_image_is_held_out_once_and_folds_share_each_class():
    labels = np.repeat([2, 0, 1], [40, 7, 13])[np.random.default_rng(0).permutation(60)]
    splits = folds(labels)
    assert sorted(np.concatenate([held for _, held in splits])) == list(range(60))
    for fitted, held in splits:
        assert sorted([*fitted, *held]) == list(range(60))
        counts = np.bincount(labels[held], minlength=3)
        assert np.all(np.abs(counts - np.array([7, 13, 40]) / FOLDS) < 1)
    assert any((held != other).any() for (_, held), (_, other) in zip(splits, folds(labels, 1), strict=True))


def test_an_image_that_is_alone_in_its_class_is_never_held_out():
    """No probe that was fitted to the others can know its class."""
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2])
    assert sorted(np.concatenate([held for _, held in folds(labels)])) == list(range(8))
    features = np.random.default_rng(0).normal(size=(9, 4)) + 3 * labels[:, None]
    assert 0 <= choose(features, labels) < len(INVERSE_STRENGTHS)


def test_classes_of_one_image_each_leave_nothing_to_choose_by():
    assert INVERSE_STRENGTHS[choose(np.eye(4), np.arange(4))] == 0.01


def test_noise_is_fitted_with_a_strong_penalty_and_what_is_clear_with_a_weak_one():
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 3
    noise = rng.normal(size=(120, 20))
    clear = noise.copy()
    clear[np.arange(120), labels] += 20
    assert INVERSE_STRENGTHS[choose(noise, labels)] < 1e-2
    assert INVERSE_STRENGTHS[choose(StandardScaler().fit_transform(clear), labels)] >= 10


def test_variances_are_averaged_with_the_mean_variance():
    features = np.random.default_rng(0).normal(2.0, [0.0, 1.0, 5.0], size=(50, 3))
    variances = features.var(axis=0)
    mean, deviation = standardization(torch.tensor(features))
    np.testing.assert_allclose(mean, features.mean(axis=0))
    np.testing.assert_allclose(deviation, np.sqrt((variances + variances.mean()) / 2))
    assert (standardization(torch.ones(5, 2).double())[1] > 0).all()


def test_a_feature_that_is_nearly_constant_in_training_does_not_decide_about_a_new_image():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    features = rng.normal(size=(60, 5))
    features[:, 0] += 4 * labels
    features[:, 4] *= 1e-3
    weight, bias = solve_probe(torch.tensor(features), torch.tensor(labels), 2)
    new = torch.tensor([[4.0, 0.0, 0.0, 0.0, each] for each in (-1.0, 0.0, 1.0)]).double()
    assert (new @ weight.T + bias).argmax(dim=1).tolist() == [1, 1, 1]
