"""A user's metrics, importable as a user's own file is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

number = 3


def share_right(probabilities: Any, labels: Any) -> float:
    """Accuracy, written as a user would."""
    return float((probabilities.argmax(axis=1) == labels).mean())


def top_two(probabilities: Any, labels: Any) -> np.floating:
    return (np.argsort(-probabilities, axis=1, kind="stable")[:, :2] == labels[:, None]).any(axis=1).mean()


def of_sklearn(probabilities: Any, labels: Any) -> float:
    from sklearn.metrics import f1_score

    return f1_score(labels, probabilities.argmax(axis=1), average="weighted")


def not_a_number(probabilities: Any, labels: Any) -> float:
    return math.nan


def each_image(probabilities: Any, labels: Any) -> Any:
    return probabilities.argmax(axis=1) == labels


def mean_loss(probabilities: Any, labels: Any) -> float:
    return -1.5


def reversed_arguments(labels: Any, probabilities: Any) -> float:
    return float((labels == probabilities.argmax(axis=1)).mean())
