"""Solved heads: scikit-learn's minimum at every strength, the choice among strengths, the solution in the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.preprocessing import StandardScaler

from frostline.objectives.config import create_config
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.features import FeatureSource
from frostline.objectives.finetune import FinetuneResult, Task, finetune, phase_data
from frostline.objectives.training import logistic_regression
from frostline.objectives.training.logistic_regression import (
    INVERSE_STRENGTHS,
    fit_logistic_regression,
    pooled_features,
    regularization_path,
)

from ..tiny import own_task, task

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
    start = no_solution(torch.tensor(features))
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


def sources(result: FinetuneResult, work: Task) -> tuple[FeatureSource, FeatureSource]:
    data = phase_data(result.network, create_config({"strategy": "linear_probe_exact"}), work, 0)
    return data.train, data.val


def solve(work: Task) -> FinetuneResult:
    return finetune(create_config({"strategy": "linear_probe_exact"}), work, seed=0)


def scored(result: FinetuneResult, work: Task) -> list[tuple[float, float, float]]:
    """Accuracy, log loss and mean training loss of each strength by scikit-learn, on the validation images."""
    train, val = (pooled_features(result.network, source).numpy() for source in sources(result, work))
    scaler = StandardScaler().fit(train)
    standard, val_standard = scaler.transform(train), scaler.transform(val)
    found = []
    for strength in INVERSE_STRENGTHS:
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(standard, work.train.labels)
        probabilities = model.predict_proba(val_standard)
        accuracy = accuracy_score(work.val.labels, probabilities.argmax(axis=1))
        train_loss = log_loss(work.train.labels, model.predict_proba(standard))
        found.append((accuracy, log_loss(work.val.labels, probabilities), train_loss))
    return found


def test_the_best_score_wins_and_of_equal_scores_the_lowest_log_loss():
    work = task(train=60, val=30)
    result = solve(work)
    candidates = scored(result, work)
    best = max(candidates, key=lambda one: (one[0], -one[1]))
    equal = [one for one in candidates if one[0] == best[0]]
    assert len(equal) > 1
    assert equal[0] is not best, "the strongest of equals would be another"
    assert result.score == best[0]
    assert result.epochs[0].val_loss == pytest.approx(best[1], abs=1e-3)
    assert result.epochs[0].train_loss == pytest.approx(best[2], abs=1e-3)


def test_a_higher_score_wins_over_a_lower_log_loss(monkeypatch: pytest.MonkeyPatch):
    work = task(train=60, val=30)
    solved = solve(work)
    train, _ = sources(solved, work)
    features = torch.tensor(StandardScaler().fit_transform(pooled_features(solved.network, train).numpy()))
    weight, bias = fit_logistic_regression(features, train.labels, 1.0, no_solution(features))
    # Right about two classes of three, and wrong about the third without a doubt.
    sure = weight, bias - torch.tensor([0.0, 0.0, 1e3])
    for candidates in ([no_solution(features), sure], [sure, no_solution(features)]):
        monkeypatch.setattr(logistic_regression, "regularization_path", lambda *_, found=candidates: iter(found))
        result = solve(work)
        assert result.score == pytest.approx(2 / 3)
        assert result.epochs[0].val_loss > np.log(3), "the log loss of equal probabilities"


def no_solution(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of 0, by which three classes are equally probable."""
    return torch.zeros(3, features.shape[1]).double(), torch.zeros(3).double()


# The network ----------------------------------------------------------------------------------------------------------


def test_the_solution_is_folded_into_the_linear_layer_and_no_unit_moves():
    work = own_task(train=60)
    before = {name: value.clone() for name, value in work.backbones.pretrained.model.state_dict().items()}
    result = solve(work)
    assert len(result.epochs) == 1
    after = result.network.backbone_state()
    assert after
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    train, _ = (pooled_features(result.network, source) for source in sources(result, work))
    output = result.network.head[-1]
    folded = train.float() @ output.weight.T + output.bias  # type: ignore[operator]
    losses = torch.nn.functional.cross_entropy(folded, torch.tensor(work.train.labels))
    assert losses.item() == pytest.approx(result.epochs[0].train_loss, abs=1e-5)


def test_features_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch):
    computed = FeatureSource.batch
    monkeypatch.setattr(FeatureSource, "batch", lambda *arguments: computed(*arguments) / 0)
    with pytest.raises(TrainingFailedError, match="not finite: check the backbone's weights"):
        solve(task())
