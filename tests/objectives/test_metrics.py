"""Metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.metrics import check_metric, default_metric, item_weights, score

answers = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@pytest.mark.parametrize(
    ("metric", "reference"), [("accuracy", accuracy_score), ("balanced_accuracy", balanced_accuracy_score)]
)
@given(pairs=answers)
def test_scores_are_those_of_scikit_learn(metric: str, reference, pairs: list[tuple[int, int]]):
    labels, predictions = np.array(pairs, dtype=np.int64).T
    assert score(metric, labels, predictions) == pytest.approx(reference(labels, predictions), abs=1e-12)
    assert item_weights(metric, labels).sum() == pytest.approx(1.0)


def test_imbalance_changes_the_default():
    assert default_metric([100, 40, 34]) == "accuracy"
    assert default_metric([100, 40, 33]) == "balanced_accuracy"


def test_an_unknown_metric_is_named_with_the_nearest():
    with pytest.raises(InvalidInputError, match=r"Unknown metric 'acuracy'. Did you mean 'accuracy'\?"):
        check_metric("acuracy")
