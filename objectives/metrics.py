"""Validation metrics, and the per-image scores from which the verdict resamples them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError, unknown_name

METRICS = ("accuracy", "balanced_accuracy")
# Above this ratio of the largest to the smallest class, plain accuracy rewards ignoring the small one.
IMBALANCE = 3.0


def default_metric(class_counts: list[int]) -> str:
    """``balanced_accuracy`` for imbalanced classes, else ``accuracy``."""
    return "balanced_accuracy" if max(class_counts) > IMBALANCE * min(class_counts) else "accuracy"


def check_metric(name: str) -> None:
    if name not in METRICS:
        raise InvalidInputError(unknown_name("metric", name, METRICS))


def item_weights(metric: str, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights (N,) that sum to 1, such that the metric is the weighted mean of correctness.

    Both metrics are linear in correctness: accuracy weighs images equally, balanced accuracy (the mean of per-class
    recalls) weighs classes equally.
    """
    if metric == "accuracy":
        return np.full(len(labels), 1.0 / len(labels))
    classes, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1.0 / (len(classes) * counts[inverse])


def score(metric: str, labels: NDArray[np.int64], predictions: NDArray[np.int64]) -> float:
    """The metric of predicted classes (N,) against labels (N,), in [0, 1]."""
    return float(item_weights(metric, labels) @ (labels == predictions))
