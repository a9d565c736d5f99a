"""Metrics against scikit-learn: values, image weights, ties, absent classes, wrong input."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.metrics import (
    METRICS,
    OBJECTIVES,
    all_scores,
    check_metric,
    default_metric,
    one_hot,
    score,
    weighted,
)
from frostline.objectives.training import to_probabilities

TOLERANCE = 1e-6


@st.composite
def problems(draw: st.DrawFn, classes: tuple[int, int] = (2, 5)) -> tuple[Any, Any]:
    """Probabilities and labels: many ties, classes that are absent, zeros and ones, float32 and float64."""
    images, width = draw(st.integers(1, 30)), draw(st.integers(*classes))
    votes = draw(arrays.arrays(np.int64, (images, width), elements=st.integers(0, 3)))
    votes[votes.sum(axis=1) == 0, draw(st.integers(0, width - 1))] = 1
    labels = draw(arrays.arrays(np.int64, images, elements=st.integers(0, width - 1)))
    kind = draw(st.sampled_from([np.float32, np.float64]))
    return (votes / votes.sum(axis=1, keepdims=True)).astype(kind), labels


def sklearn_auroc(probabilities: Any, labels: Any, weights: Any) -> float:
    """Mean of scikit-learn's binary area over the classes that have positives and negatives."""
    kept = weights > 0
    probabilities, labels, weights = probabilities[kept], labels[kept], weights[kept]
    classes = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    areas = [
        sklearn_metrics.roc_auc_score(labels == place, probabilities[:, place], sample_weight=weights)
        for place in classes
        if 0 < (labels == place).sum() < len(labels)
    ]
    return float(np.mean(areas)) if areas else 0.5


def calibration_by_hand(probabilities: Any, labels: Any, weights: Any) -> float:
    """Guo et al. 2017, eq. 3, a bin at a time."""
    confidence, correct = probabilities.max(axis=1).astype(float), probabilities.argmax(axis=1) == labels
    error = 0.0
    edges = np.linspace(0, 1, 16)
    for low, high in itertools.pairwise(edges):
        held = (confidence > low) & (confidence <= high) & (weights > 0)
        if held.any():
            gap = np.average(correct[held], weights=weights[held]) - np.average(confidence[held], weights=weights[held])
            error += weights[held].sum() / weights.sum() * abs(gap)
    return error


def log_loss_by_hand(probabilities: Any, labels: Any, weights: Any) -> float:
    """Its definition, an image at a time; scikit-learn's is clipped at the machine epsilon.

    The least positive number is 2 ** -149 in float32, and 2 ** -1074 in float64.
    """
    most = math.log(2) * {np.float32: 149, np.float64: 1074}[probabilities.dtype.type]
    own = [float(row[label]) for row, label in zip(probabilities, labels, strict=True)]
    return float(np.average([-math.log(each) if each else most for each in own], weights=weights))


def of_classes(reference: Callable[..., float], **options: Any) -> Callable[[Any, Any, Any], float]:
    """A reference that takes predicted classes, given the images that count."""

    def value(probabilities: Any, labels: Any, weights: Any) -> float:
        kept = weights > 0
        predicted = probabilities.argmax(axis=1)
        with warnings.catch_warnings():
            # It warns of classes that are only predicted, and of a single class.
            warnings.simplefilter("ignore", UserWarning)
            return float(reference(labels[kept], predicted[kept], sample_weight=weights[kept], **options))

    return value


REFERENCES = {
    "accuracy": of_classes(sklearn_metrics.accuracy_score),
    "balanced_accuracy": of_classes(sklearn_metrics.balanced_accuracy_score),
    "macro_f1": of_classes(sklearn_metrics.f1_score, average="macro", zero_division=0),
    "auroc": sklearn_auroc,
    "log_loss": log_loss_by_hand,
    "calibration_error": calibration_by_hand,
}


# Values


def test_every_metric_has_a_reference() -> None:
    assert REFERENCES.keys() == METRICS.keys()


@pytest.mark.parametrize("apart", [1.0, 20.0, 80.0, 150.0, 700.0])
def test_the_log_loss_of_certain_mistakes_is_the_cross_entropy_of_their_logits(apart: float) -> None:
    labels = torch.zeros(100, dtype=torch.int64)
    logits = apart * torch.eye(3)[torch.tensor([1] * 5 + [0] * 95)]
    found = score("log_loss", to_probabilities(logits), labels.numpy())
    assert found == pytest.approx(float(F.cross_entropy(logits.double(), labels)), rel=1e-12)
    assert found == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-6), "as val_loss is computed"
    if apart >= 20:
        assert found == pytest.approx(0.05 * apart, rel=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_where_scikit_learn_clips_nothing_its_log_loss_is_the_same(kind: type[np.floating]) -> None:
    rng = np.random.default_rng(0)
    probabilities, labels = rng.dirichlet(np.ones(4), size=200), rng.integers(4, size=200)
    expected = sklearn_metrics.log_loss(labels, probabilities)
    probabilities = probabilities.astype(kind)
    assert score("log_loss", probabilities, labels) == pytest.approx(expected, rel=1e-6)


# Of each problem every metric: to draw one takes longer than to score it.


@given(problem=problems())
def test_scores_are_those_of_scikit_learn(problem: tuple[Any, Any]) -> None:
    probabilities, labels = problem
    for metric in METRICS:
        reference = REFERENCES[metric](probabilities, labels, np.ones(len(labels)))
        assert score(metric, probabilities, labels) == pytest.approx(reference, abs=TOLERANCE), metric


@given(problem=problems(), data=st.data())
def test_weights_are_those_of_scikit_learn(problem: tuple[Any, Any], data: st.DataObject) -> None:
    probabilities, labels = problem
    positive = st.floats(0.01, 100) | st.just(0.0)
    weights = data.draw(arrays.arrays(np.float64, (3, len(labels)), elements=positive))
    weights[weights.sum(axis=1) == 0, 0] = 1.0
    for metric in METRICS:
        values = weighted(metric, probabilities, labels)(weights)
        assert values.shape == (3,)
        references = [REFERENCES[metric](probabilities, labels, row) for row in weights]
        assert values == pytest.approx(references, abs=TOLERANCE), metric


@given(problem=problems(), data=st.data())
def test_a_weight_of_k_is_an_image_k_times(problem: tuple[Any, Any], data: st.DataObject) -> None:
    probabilities, labels = problem
    counts = data.draw(arrays.arrays(np.int64, len(labels), elements=st.integers(0, 3)))
    counts[0] = max(counts[0], 1)
    images = np.repeat(np.arange(len(labels)), counts)
    for metric in METRICS:
        (value,) = weighted(metric, probabilities, labels)(counts[None].astype(float))
        assert value == pytest.approx(score(metric, probabilities[images], labels[images]), abs=1e-12), metric


@given(problem=problems(), factor=st.floats(0.1, 10), random=st.randoms(use_true_random=False))
def test_order_and_scale_of_weights_do_not_matter(problem: Any, factor: float, random: Any) -> None:
    probabilities, labels = problem
    order = np.array(random.sample(range(len(labels)), len(labels)))
    for metric in METRICS:
        whole = score(metric, probabilities, labels)
        scaled = weighted(metric, probabilities[order], labels[order])(np.full((1, len(labels)), factor))
        assert scaled == pytest.approx([whole], abs=1e-9), metric
        assert whole >= 0, metric
        if METRICS[metric].share:
            assert whole <= 1 + 1e-12, metric


@pytest.mark.parametrize("metric", METRICS)
def test_softmax_of_many_classes(metric: str) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(40, size=3000)
    logits = 3 * rng.normal(size=(3000, 40)) + 4 * np.eye(40)[labels]
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True)).astype(np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert (probabilities.sum(axis=1) != 1).any()
    reference = REFERENCES[metric](probabilities, labels, np.ones(3000))
    assert score(metric, probabilities, labels) == pytest.approx(reference, abs=TOLERANCE)
    assert all_scores(probabilities, labels)[metric] == score(metric, probabilities, labels)


def test_auroc_of_many_classes_is_scikit_learns_one_against_the_rest() -> None:
    rng = np.random.default_rng(1)
    probabilities, labels = rng.dirichlet(np.ones(6), size=500), rng.integers(6, size=500)
    reference = sklearn_metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert score("auroc", probabilities, labels) == pytest.approx(reference, abs=TOLERANCE)


def test_calibration_error_is_scikit_learns_curve_weighed_by_its_bins() -> None:
    rng = np.random.default_rng(2)
    second = rng.random(2000)
    probabilities = np.stack([1 - second, second], axis=1)
    labels = (rng.random(2000) < second**2).astype(np.int64)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    true, predicted = calibration_curve(correct, confidence, n_bins=15)
    counts, _ = np.histogram(confidence, bins=15, range=(0, 1))
    reference = np.abs(true - predicted) @ counts[counts > 0] / 2000
    assert score("calibration_error", probabilities, labels) == pytest.approx(reference, abs=TOLERANCE)


def test_one_class_alone_gives_the_area_of_a_coin() -> None:
    labels = np.ones(4, dtype=np.int64)
    assert score("auroc", np.full((4, 3), 1 / 3), labels) == 0.5


def test_predicted_classes_are_enough_for_the_metrics_that_say_so() -> None:
    rng = np.random.default_rng(3)
    probabilities, labels = rng.dirichlet(np.ones(4), size=200), rng.integers(4, size=200)
    sure = one_hot(probabilities.argmax(axis=1), 4)
    same = {name for name in METRICS if score(name, sure, labels) == score(name, probabilities, labels)}
    assert same == {name for name, metric in METRICS.items() if metric.of_classes}


# Wrong input


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        ([[0.5, np.nan], [0.5, 0.5]], [0, 1], "NaN"),
        ([[2.0, -1.0], [0.5, 0.5]], [0, 1], "negative"),
        ([[3.0, 8.0], [0.5, 0.5]], [0, 1], "sum to 1"),
        ([[0.5, 0.5]], [2], r"0 \.\.\. 1"),
        ([[0.5, 0.5]], [0, 1], r"\(N,\)"),
        (np.zeros((0, 2)), [], r"\(N,\)"),
    ],
)
def test_what_is_not_probabilities_is_refused(metric: str, probabilities: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        score(metric, np.array(probabilities), np.array(labels, dtype=np.int64))


def test_imbalance_changes_the_default() -> None:
    assert default_metric([100, 40, 34]) == "accuracy"
    assert default_metric([100, 40, 33]) == "balanced_accuracy"


def test_a_study_maximises_what_grows() -> None:
    assert set(OBJECTIVES) == {"accuracy", "balanced_accuracy", "macro_f1", "auroc"}
    for name in OBJECTIVES:
        check_metric(name)


def test_an_unknown_metric_is_named_with_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"Unknown metric 'acuracy'. Did you mean 'accuracy'\?"):
        check_metric("acuracy")


@pytest.mark.parametrize("name", ["log_loss", "calibration_error"])
def test_a_metric_that_is_only_reported_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(
        InvalidInputError, match=f"'{name}' is reported .* accuracy, balanced_accuracy, macro_f1, auroc"
    ):
        check_metric(name)
