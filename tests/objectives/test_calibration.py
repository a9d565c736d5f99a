"""Temperature scaling against SciPy, scikit-learn, closed forms and simulated networks of known temperature."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV

from frostline.objectives.calibration import CALIBRATED_METRICS, MAX_FACTOR, calibrate, fit_temperature
from frostline.objectives.metrics import METRICS, score

SKLEARN = tuple(int(part) for part in sklearn.__version__.split(".")[:2])


def simulate(images: int, classes: int, temperature: float, seed: int = 0) -> tuple[Any, Any]:
    """Logits of a network of this temperature and labels; divided by it, they are the probabilities of the labels."""
    rng = np.random.default_rng(seed)
    true = 2 * rng.normal(size=(images, classes))
    # The class with the largest sum is drawn with the probabilities softmax(true).
    labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    return (temperature * true).astype(np.float32), labels


# The fit


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("classes", [2, 3, 20])
def test_the_temperature_of_a_simulated_network_is_found(classes: int, temperature: float) -> None:
    logits, labels = simulate(20_000, classes, temperature)
    # Its standard error is about 1 %.
    assert fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(temperature, rel=0.04)


@pytest.mark.parametrize("seed", range(10))
def test_it_is_the_minimum_that_scipy_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = simulate(int(rng.integers(50, 400)), int(rng.integers(2, 12)), rng.uniform(0.3, 4), seed)

    def loss(temperature: float) -> float:
        return -float(np.mean(log_softmax(logits.astype(float) / temperature, axis=1)[np.arange(len(labels)), labels]))

    found = fit_temperature(softmax(logits.astype(float), axis=1), labels)
    least: Any = minimize_scalar(loss, bounds=(1 / MAX_FACTOR, MAX_FACTOR), options={"xatol": 1e-9})
    assert found == pytest.approx(least.x, rel=1e-4)
    assert loss(found) <= least.fun + 1e-9
    # As networks give them.
    assert fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(found, rel=1e-4)


class GivenLogits(ClassifierMixin, BaseEstimator):
    """A classifier whose inputs are its logits."""

    def fit(self, logits: Any, labels: Any) -> GivenLogits:
        self.classes_ = np.unique(labels)
        return self

    def decision_function(self, logits: Any) -> Any:
        return logits

    def predict(self, logits: Any) -> Any:
        return self.classes_[logits.argmax(axis=1)]


@pytest.mark.skipif(SKLEARN < (1, 8), reason="scikit-learn has temperature scaling since 1.8")
def test_probabilities_are_those_that_scikit_learn_calibrates() -> None:
    from sklearn.frozen import FrozenEstimator

    logits, labels = simulate(600, 5, 2.5)
    fitted = FrozenEstimator(GivenLogits().fit(logits, labels))
    reference = CalibratedClassifierCV(fitted, method="temperature").fit(logits, labels)
    others, _ = simulate(100, 5, 2.5, seed=1)
    temperature = fit_temperature(softmax(logits, axis=1), labels)
    assert calibrate(softmax(others, axis=1), temperature) == pytest.approx(reference.predict_proba(others), abs=1e-4)


@pytest.mark.parametrize("sure", [0.6, 0.9, 0.999])
@pytest.mark.parametrize("right", [15, 18, 19])
def test_images_of_equal_probabilities_become_as_sure_as_they_are_right(sure: float, right: int) -> None:
    labels = (np.arange(20) >= right).astype(np.int64)
    probabilities = np.tile([sure, 1 - sure], (20, 1))
    temperature = fit_temperature(probabilities, labels)
    assert temperature == pytest.approx(logit(sure) / logit(right / 20), rel=1e-6)
    assert calibrate(probabilities, temperature)[0, 0] == pytest.approx(right / 20, rel=1e-6)


# What few images show


@pytest.mark.parametrize("images", [1, 4, 30, 1000])
@pytest.mark.parametrize("sure", [0.4, 0.6])
def test_images_that_are_all_right_sharpen_to_what_so_many_can_show(images: int, sure: float) -> None:
    probabilities = np.tile([sure, *[(1 - sure) / 3] * 3], (images, 1))
    temperature = fit_temperature(probabilities, np.zeros(images, dtype=np.int64))
    assert 1 / MAX_FACTOR < temperature < 1
    assert calibrate(probabilities, temperature)[0, 0] == pytest.approx((images + 1) / (images + 2), rel=1e-6)


def test_all_right_and_surer_than_they_can_show_stay_as_they_are() -> None:
    assert fit_temperature(np.tile([0.99, 0.01], (5, 1)), np.zeros(5, dtype=np.int64)) == 1.0


def test_one_image_that_is_barely_wrong_does_not_sharpen_without_bound() -> None:
    probabilities = np.array([[0.7, 0.3]] * 11 + [[0.501, 0.499]])
    labels = np.array([0] * 11 + [1])
    temperature = fit_temperature(probabilities, labels)
    assert calibrate(probabilities, temperature).max(axis=1).mean() == pytest.approx(13 / 14, rel=1e-6)


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 2.5])
@pytest.mark.parametrize("images", [12, 50])
def test_few_validation_images_do_little_harm_on_others(images: int, true_temperature: float) -> None:
    changes = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # Of an easy task: often all validation images are right.
        true = rng.normal(size=(images + 2000, 2)) + 6 * np.eye(2)[rng.integers(2, size=images + 2000)]
        labels = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
        before = softmax(true_temperature * true, axis=1).astype(np.float32)
        after = calibrate(before, fit_temperature(before[:images], labels[:images]))
        changes.append(score("log_loss", after[images:], labels[images:]))
        changes[-1] -= score("log_loss", before[images:], labels[images:])
    assert np.mean(changes) < 0.02


def test_equal_probabilities_leave_nothing_to_fit() -> None:
    assert fit_temperature(np.full((6, 3), 1 / 3, dtype=np.float32), np.array([0, 1, 2, 2, 1, 0])) == 1.0


# Saturated probabilities


def test_probabilities_of_0_and_1_are_fitted() -> None:
    logits, labels = simulate(4000, 4, 60.0)
    probabilities = softmax(logits, axis=1)
    own = probabilities[np.arange(4000), labels]
    assert probabilities.dtype == np.float32
    assert (own == 0).any()
    assert (probabilities == 1).any()
    temperature = fit_temperature(probabilities, labels)
    assert 1 < temperature <= MAX_FACTOR
    after = score("log_loss", calibrate(probabilities, temperature), labels)
    assert after < 0.6 * score("log_loss", probabilities, labels)


def test_surely_wrong_ends_at_the_bound() -> None:
    sure = np.tile(np.array([1, 0], dtype=np.float32), (8, 1))
    assert fit_temperature(sure, np.ones(8, dtype=np.int64)) == MAX_FACTOR
    assert fit_temperature(sure, np.zeros(8, dtype=np.int64)) == 1.0


# Calibrated probabilities


@given(seed=st.integers(0, 10**6), temperature=st.floats(1 / MAX_FACTOR, MAX_FACTOR), classes=st.integers(2, 8))
def test_probabilities_are_the_softmax_of_divided_logits_and_predict_the_same(
    seed: int, temperature: float, classes: int
) -> None:
    logits = np.random.default_rng(seed).normal(size=(30, classes)) * 5
    probabilities = softmax(logits, axis=1)
    calibrated = calibrate(probabilities, temperature)
    assert calibrated == pytest.approx(softmax(logits / temperature, axis=1), abs=1e-12)
    assert np.array_equal(calibrated.argmax(axis=1), probabilities.argmax(axis=1))
    labels = np.arange(30) % classes
    for name in ("accuracy", "balanced_accuracy", "macro_f1"):
        assert score(name, calibrated, labels) == score(name, probabilities, labels)


@pytest.mark.parametrize("apart", [20.0, 80.0, 600.0])
def test_certain_mistakes_are_calibrated_as_their_logits_are(apart: float) -> None:
    labels = np.zeros(100, dtype=np.int64)
    logits = apart * np.eye(3)[[1] * 5 + [0] * 95]
    probabilities = softmax(logits, axis=1)
    temperature = fit_temperature(probabilities, labels)
    # 5 % of the images are wrong, all equally sure: so sure the network should be, within the largest factor.
    expected = min(apart / math.log(0.95 / 0.025), MAX_FACTOR)
    assert temperature == pytest.approx(expected, rel=1e-6)
    divided = log_softmax(logits / temperature, axis=1)
    loss = score("log_loss", calibrate(probabilities, temperature), labels)
    assert loss == pytest.approx(-divided[:, 0].mean(), rel=1e-9)


def test_a_temperature_of_1_changes_nothing() -> None:
    probabilities = softmax(simulate(200, 5, 3.0)[0], axis=1)
    assert calibrate(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-6)


@given(seed=st.integers(0, 10**6), temperature=st.floats(0.2, 5), images=st.integers(1, 60))
def test_the_fitted_images_get_no_worse(seed: int, temperature: float, images: int) -> None:
    logits, labels = simulate(images, 3, temperature, seed)
    probabilities = softmax(logits.astype(float), axis=1)
    after = calibrate(probabilities, fit_temperature(probabilities, labels))
    assert score("log_loss", after, labels) <= score("log_loss", probabilities, labels) + 1e-6


def test_an_oversure_network_is_calibrated_on_other_images() -> None:
    logits, labels = simulate(10_000, 5, 2.5)
    probabilities = softmax(logits, axis=1)
    after = calibrate(probabilities[5000:], fit_temperature(probabilities[:5000], labels[:5000]))
    for name in CALIBRATED_METRICS:
        assert not METRICS[name].higher_is_better
        assert score(name, after, labels[5000:]) < score(name, probabilities[5000:], labels[5000:])
    # With the true probabilities it is that of chance alone.
    assert score("calibration_error", after, labels[5000:]) < 0.03


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [([[0.5, np.nan]], [0], "NaN"), ([[3.0, 8.0]], [0], "sum to 1"), ([[0.5, 0.5]], [2], r"0 \.\.\. 1")],
)
def test_what_is_not_probabilities_is_refused(probabilities: Any, labels: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(np.array(probabilities), np.array(labels))
