"""Metrics of the user's: the same numbers as built-in ones, resampled images as repeated images, clear mistakes."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.metrics import check_metric, score, weighted
from frostline.objectives.user_metrics import metric_source

LABELS = np.random.default_rng(0).integers(0, 4, size=80)
PROBABILITIES = np.random.default_rng(1).dirichlet(np.ones(4), size=80)


def test_accuracy_of_the_users_is_accuracy() -> None:
    counts = np.random.default_rng(2).multinomial(80, np.full(80, 1 / 80), size=30).astype(float)
    own, known = (weighted(name, PROBABILITIES, LABELS) for name in ("own_metrics:share_right", "accuracy"))
    assert score("own_metrics:share_right", PROBABILITIES, LABELS) == score("accuracy", PROBABILITIES, LABELS)
    assert np.array_equal(own(counts), known(counts))
    # From what is remembered too, which no caller can change.
    own(counts)[:] = 0
    assert np.array_equal(own(counts), known(counts))


def test_a_weight_of_an_image_repeats_it() -> None:
    weights = np.random.default_rng(3).integers(0, 4, size=(5, 80)).astype(float)
    found = weighted("own_metrics:of_sklearn", PROBABILITIES, LABELS)(weights)
    for row, value in zip(weights, found, strict=True):
        predicted = PROBABILITIES.argmax(axis=1)
        assert value == pytest.approx(f1_score(LABELS, predicted, average="weighted", sample_weight=row), abs=1e-12)
    with pytest.raises(ValueError, match="whole weights"):
        weighted("own_metrics:of_sklearn", PROBABILITIES, LABELS)(weights + 0.5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_metrics:not_a_number", "returns nan; it must return a number from 0 to 1"),
        ("own_metrics:mean_loss", "returns -1.5; .* the higher the better. Scale it"),
        ("own_metrics:each_image", r"returns a ndarray of shape \(80,\); it must return one number"),
        ("own_metrics:reversed_arguments", r"fails: AxisError.*called with probabilities \(N, K\)"),
    ],
)
def test_what_is_no_metric_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        score(name, PROBABILITIES, LABELS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("own_metrics:share_rigth", "Did you mean 'share_right'?"),
        ("own_metric:share_right", "there is no module 'own_metric' here"),
        ("own_metrics:number", "is a int, not a function"),
        ("acuracy", "Did you mean 'accuracy'?.*Or give your own as module:function"),
    ],
)
def test_what_cannot_be_imported_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        check_metric(name)


def test_keys_follow_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "changing_metric.py"
    monkeypatch.syspath_prepend(tmp_path)
    keys = []
    for constant in ("0.5", "0.25", "0.5"):
        file.write_text(f"def half(probabilities, labels):\n    return {constant}\n")
        importlib.invalidate_caches()
        keys.append(metric_source("changing_metric:half"))
    assert keys[0] == keys[2] != keys[1]
    assert metric_source("accuracy") == "accuracy"
