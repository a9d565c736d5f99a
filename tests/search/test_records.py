"""What a temperature changes of a final's record, and what not, against SciPy and scikit-learn; its costs; the order of
trials.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from frostline.objectives.metrics import METRICS, score
from frostline.search.analysis.costs import costs_of
from frostline.search.records import FinalRecord, FinalScores, TrialRecord, best_trial, best_trials

TEMPERATURE = 1.7


def make_final(temperature: float | None = TEMPERATURE) -> tuple[FinalRecord, np.ndarray]:
    """A final with some wrong predictions, and its logits."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=300)
    logits = 3 * rng.normal(size=(300, 4)) + 3 * np.eye(4)[labels]
    probabilities = softmax(logits, axis=1).astype(np.float32)
    value = score("auroc", probabilities, labels)
    final = FinalRecord("full", 3, 1000, 0.5, value, 1.0, 5, labels, probabilities, temperature=temperature)
    return final, logits


def test_calibrated_metrics_are_those_of_logits_divided_by_the_temperature() -> None:
    final, logits = make_final()
    divided = softmax(logits / TEMPERATURE, axis=1)
    assert final.calibrated_metrics.keys() == {"log_loss", "calibration_error"}
    assert final.calibrated_metrics["log_loss"] == pytest.approx(log_loss(final.labels, divided), abs=1e-5)
    assert final.calibrated_metrics["calibration_error"] == pytest.approx(
        score("calibration_error", divided, final.labels), abs=1e-5
    )
    assert final.calibrated_metrics["log_loss"] < final.metrics["log_loss"]


def test_a_temperature_changes_neither_predictions_nor_scores_nor_other_metrics() -> None:
    final, _ = make_final()
    without = replace(final, temperature=None)
    assert np.array_equal(final.predictions, without.predictions)
    assert final.metrics == without.metrics
    assert final.metrics.keys() == METRICS.keys()
    assert final.metrics["auroc"] == final.test_score


def test_finals_without_temperature_or_probabilities_have_no_calibrated_metrics() -> None:
    final, _ = make_final(None)
    assert final.calibrated_metrics == {}
    assert replace(final, temperature=2.0, classes_only=True).calibrated_metrics == {}


def test_a_temperature_is_kept_in_the_row_and_older_rows_have_none() -> None:
    final, _ = make_final()
    row = final.to_row()
    assert row["temperature"] == TEMPERATURE
    scores = FinalScores.from_row(row, seed=1000)
    assert scores.temperature == TEMPERATURE
    assert scores.with_predictions(final.labels, final.probabilities).temperature == TEMPERATURE
    del row["temperature"]
    assert FinalScores.from_row(row, seed=1000).temperature is None


def test_costs_are_kept_in_the_row_and_older_rows_have_none() -> None:
    final, _ = make_final()
    priced = replace(final, device_seconds=2.5, latency=0.004, size=1_234_567)
    read = FinalScores.from_row(priced.to_row(), 1000)
    assert (read.device_seconds, read.latency, read.size) == (2.5, 0.004, 1_234_567)
    kept = read.with_predictions(final.labels, final.probabilities)
    assert (kept.device_seconds, kept.latency, kept.size, kept.temperature) == (2.5, 0.004, 1_234_567, TEMPERATURE)
    older = {name: value for name, value in priced.to_row().items() if name not in ("latency", "size")}
    assert FinalScores.from_row(older, 1000).latency is None
    costs = costs_of([priced, replace(priced, device_seconds=3.5, latency=0.005), replace(priced, latency=0.1)])
    assert (costs.device_seconds, costs.latency, costs.size_mb) == (pytest.approx(8.5 / 3), 0.005, 1.234567)
    assert costs_of([priced, FinalScores.from_row(older, 1001)]).known == {"device_seconds": 2.5}


# The order of trials --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log_losses", "weights", "best"),
    [
        ([0.9, 0.4, 0.5], [1, 3, 2], 1),
        ([0.5, 0.5, 0.5], [3, 2, 1], 2),
        ([0.5, 0.5, 0.5], [2, 2, 2], 0),
        ([None, None, 0.9], [1, 1, 3], 2),
        ([None, None, None], [3, 1, 1], 1),
    ],
)
def test_equal_scores_are_told_apart_by_log_loss_then_trained_weights_then_number(
    log_losses: list[float | None], weights: list[int], best: int
) -> None:
    trials = [
        TrialRecord(number, "complete", score=0.9, log_loss=log_loss, trainable_parameters=parameters)
        for number, (log_loss, parameters) in enumerate(zip(log_losses, weights, strict=True))
    ]
    lower = TrialRecord(3, "complete", score=0.8, log_loss=0.1, trainable_parameters=1)
    found = best_trial([lower, *trials])
    assert found is not None
    assert found.number == best
    assert [trial.number for trial in best_trials([lower, *trials])][-1] == 3
