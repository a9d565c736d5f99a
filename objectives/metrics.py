"""Metrics of class probabilities, each as a function of image weights, so that the verdict can bootstrap the images.

An image of weight k counts as k equal images, an image of weight 0 does not count. Classes are the columns of the
probabilities; the predicted class is the most probable one, the first of equals. Definitions are scikit-learn's where
it has the metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInputError, unknown_name
from .user_metrics import find_metric_function, is_users, prepare_resampled

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Probabilities = NDArray[np.floating]
Labels = NDArray[np.int64]
# From non-negative weights (B, N), each row with a positive sum, to values (B,); fastest where weights.T is contiguous.
Weighted = Callable[[NDArray[np.float64]], NDArray[np.float64]]

# Above this ratio of the largest to the smallest class, plain accuracy rewards ignoring the small one.
IMBALANCE = 3.0
CALIBRATION_BINS = 15
# Largest distance of a sum of probabilities from 1: bfloat16 and float16 stay within it, logits do not.
_ROUNDING = 1e-2


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Name as users write it.
        title: Name in tables and sentences.
        prepare: Takes probabilities (N, K) and labels (N,), does all work that does not depend on weights, and returns
            the function of the weights.
        higher_is_better: Whether larger values are better. Such metrics are in [0, 1], and a study can maximize them.
        share: Whether it is shown in percent.
        of_classes: Whether the predicted classes, as one-hot probabilities, determine it.
    """

    name: str
    title: str
    prepare: Callable[[Probabilities, Labels], Weighted]
    higher_is_better: bool = True
    share: bool = True
    of_classes: bool = True


def default_metric(class_counts: list[int]) -> str:
    """``balanced_accuracy`` for imbalanced classes, else ``accuracy``.

    Args:
        class_counts: Images of each class.

    Example:
        >>> from frostline.objectives.metrics import default_metric
        >>> default_metric([100, 120]), default_metric([100, 10])
        ('accuracy', 'balanced_accuracy')
    """
    return "balanced_accuracy" if max(class_counts) > IMBALANCE * min(class_counts) else "accuracy"


def check_metric(name: str) -> None:
    """Refuse a metric that a study cannot maximize.

    Raises:
        InvalidInputError: There is no metric of this name, it is only reported, or the user's cannot be imported.
    """
    if is_users(name):
        find_metric_function(name)
        return
    if name not in METRICS:
        raise InvalidInputError(f"{unknown_name('metric', name, OBJECTIVES)} Or give your own as module:function.")
    if name not in OBJECTIVES:
        raise InvalidInputError(
            f"Metric {name!r} is reported for every finalist, but a study maximizes one of: {', '.join(OBJECTIVES)}."
        )


def find_metric(name: str) -> Metric:
    """The metric of a name: a built-in one, or a function of the user's, ``module:function``.

    >>> from frostline.objectives.metrics import find_metric
    >>> find_metric("macro_f1").title, find_metric("my_metrics:top_two").title
    ('macro F1', 'top two')
    """
    if not is_users(name):
        return METRICS[name]
    return Metric(name, name.rpartition(":")[2].replace("_", " "), partial(prepare_resampled, name))


def weighted(metric: str, probabilities: Probabilities, labels: Labels) -> Weighted:
    """A metric of some images as a function of their weights.

    Args:
        metric: Name of the metric; see :func:`find_metric`.
        probabilities: Class probabilities (N, K), float, with N >= 1 and K >= 2.
        labels: True classes (N,), int64, below K.

    Returns:
        A function from weights (B, N) to values (B,).

    Raises:
        ValueError: See :func:`check_probabilities`.
        InvalidInputError: See :func:`~frostline.objectives.user_metrics.prepare_resampled`.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.metrics import weighted
        >>> accuracy = weighted("accuracy", np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
        >>> accuracy(np.array([[1.0, 1.0], [3.0, 1.0]])).tolist()
        [0.5, 0.75]
    """
    check_probabilities(probabilities, labels)
    return find_metric(metric).prepare(probabilities, labels)


def check_probabilities(probabilities: Probabilities, labels: Labels) -> None:
    """Refuse anything but class probabilities (N, K) and true classes (N,), with N >= 1 and K >= 2.

    Raises:
        ValueError: The probabilities are NaN, negative or do not sum to 1 (logits), or the labels do not fit them.
    """
    if (
        probabilities.ndim != 2
        or probabilities.shape[1] < 2
        or labels.shape != (len(probabilities),)
        or not len(labels)
    ):
        raise ValueError(f"probabilities {probabilities.shape} and labels {labels.shape} are not (N, K) and (N,)")
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must be in 0 ... {probabilities.shape[1] - 1}")
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # Written so that NaN is refused too.
    if not (probabilities.min() >= 0 and np.abs(sums - 1).max() <= _ROUNDING):
        raise ValueError("probabilities must not be negative or NaN, and sum to 1 for each image")


def score(metric: str, probabilities: Probabilities, labels: Labels) -> float:
    """A metric of probabilities (N, K) and labels (N,), each image counted once; raises as :func:`weighted`.

    >>> import numpy as np
    >>> from frostline.objectives.metrics import score
    >>> score("accuracy", np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
    0.5
    """
    return float(weighted(metric, probabilities, labels)(np.ones((1, len(labels))))[0])


def all_scores(probabilities: Probabilities, labels: Labels) -> dict[str, float]:
    """Every metric by its name; raises as :func:`weighted`."""
    return {name: score(name, probabilities, labels) for name in METRICS}


def one_hot(classes: Labels, width: int) -> NDArray[np.float32]:
    """Predicted classes (N,) as probabilities of 0 and 1, float32 (N, width).

    >>> import numpy as np
    >>> from frostline.objectives.metrics import one_hot
    >>> one_hot(np.array([0, 2]), 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    return np.eye(width, dtype=np.float32)[classes]


def _accuracy(probabilities: Probabilities, labels: Labels) -> Weighted:
    """Share of images whose class was predicted."""
    correct_and_all = np.stack([_correct(probabilities, labels), np.ones(len(labels))], axis=1)

    def value(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        correct, total = (weights @ correct_and_all).T
        return correct / total

    return value


def _balanced_accuracy(probabilities: Probabilities, labels: Labels) -> Weighted:
    """Mean recall of the classes that have images."""
    classes = probabilities.shape[1]
    correct = _group_sums(labels, _correct(probabilities, labels), classes)
    present = _group_sums(labels, np.ones(len(labels)), classes)
    return lambda weights: _mean_ratio(correct @ weights.T, present @ weights.T)


def _macro_f1(probabilities: Probabilities, labels: Labels) -> Weighted:
    """Mean of 2 TP / (true + predicted images) over the classes that are true or predicted for at least one image."""
    classes, ones = probabilities.shape[1], np.ones(len(labels))
    hits = _group_sums(labels, 2 * _correct(probabilities, labels), classes)
    mentions = _group_sums(labels, ones, classes) + _group_sums(probabilities.argmax(axis=1), ones, classes)
    return lambda weights: _mean_ratio(hits @ weights.T, mentions @ weights.T)


def _auroc(probabilities: Probabilities, labels: Labels) -> Weighted:
    """Area under the ROC curve: that of the second of two classes; for more classes the mean of each against the rest.

    A class without positive or without negative images is left out; if none is left, the value is 0.5, that of chance.
    """
    two = probabilities.shape[1] == 2
    classes = [1] if two else np.unique(labels).tolist()
    pairs = [_ordered_pairs(probabilities[:, place], labels == place) for place in classes]

    def value(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        columns = np.ascontiguousarray(weights.T)
        won, possible = (np.stack(part) for part in zip(*(count(columns) for count in pairs), strict=True))
        return _mean_ratio(won, possible, undefined=0.5)

    return value


def _ordered_pairs(
    scores: NDArray[np.floating], positive: NDArray[np.bool_]
) -> Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Mann-Whitney's U: of all pairs of a positive and a negative image, those in which the positive scores higher.

    Ties count half. Everything is sorted here, once; weights (N, B) then take one sum per negative image and one
    cumulative sum over the positive ones.

    Returns:
        A function from weights (N, B) to the weight of the pairs won and of all pairs, (B,) each.
    """
    from scipy.sparse import csr_array

    negatives, positives = np.flatnonzero(~positive), np.flatnonzero(positive)
    positives = positives[np.argsort(scores[positives], kind="stable")]
    below, upto = (np.searchsorted(scores[positives], scores[negatives], side) for side in ("left", "right"))
    # Row g sums the negatives that beat the g lowest positives; half of each beats its ties, half does not.
    rows, columns = np.concatenate([below, upto]), np.tile(negatives, 2)
    halves = np.full(2 * len(negatives), 0.5)
    beating = csr_array((halves, (rows, columns)), shape=(len(positives) + 1, len(scores)))

    def count(columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        cumulative = np.zeros((len(positives) + 1, columns.shape[1]))
        np.cumsum(columns[positives], axis=0, out=cumulative[1:])
        negative = beating @ columns
        possible = cumulative[-1] * negative.sum(axis=0)
        return possible - np.einsum("gb,gb->b", cumulative, negative), possible

    return count


def _log_loss(probabilities: Probabilities, labels: Labels) -> Weighted:
    """Mean negative log-likelihood, in nats: the mean cross-entropy of the logits whose softmax is given.

    A probability of 0 counts as the least positive number of its type: 744.4 nats in float64, 103.3 nats in float32.
    scikit-learn clips at the machine epsilon instead (36.0 and 15.9 nats), so a certain mistake costs no more there
    however certain it is.
    """
    own = probabilities[np.arange(len(labels)), labels]
    losses = -np.log(np.maximum(own, least_probability(probabilities)).astype(np.float64))
    return lambda weights: weights @ losses / weights.sum(axis=1)


def _calibration_error(probabilities: Probabilities, labels: Labels) -> Weighted:
    """Expected calibration error of the predicted class over 15 bins of equal width (Guo et al. 2017, eq. 3).

    These are the bins of published results, so values compare with them. The upper edge belongs to a bin, the lower
    edge does not.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    bins = np.searchsorted(np.linspace(0, 1, CALIBRATION_BINS + 1)[1:-1], confidence)
    gaps = _group_sums(bins, _correct(probabilities, labels) - confidence, CALIBRATION_BINS)
    return lambda weights: np.abs(gaps @ weights.T).sum(axis=0) / weights.sum(axis=1)


def least_probability(probabilities: Probabilities) -> np.floating:
    """The least positive number of their type: stands for a probability of 0, whose logarithm would be infinite."""
    return np.finfo(probabilities.dtype).smallest_subnormal


def _correct(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    return (probabilities.argmax(axis=1) == labels).astype(np.float64)


def _group_sums(groups: NDArray[np.int64], values: NDArray[np.float64], count: int) -> csr_array:
    """A sparse matrix (count, N) whose product with weights (N, B) is each group's weighted sum of the values."""
    # Imported here: accuracy does without it, and its import takes longer than most commands that read.
    from scipy.sparse import csr_array

    # By rows as they are kept: making that of rows and columns takes twice as long.
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(groups, minlength=count))])
    return csr_array((values[order], order, starts), shape=(count, len(values)))


def _mean_ratio(parts: NDArray[np.float64], wholes: NDArray[np.float64], undefined: float = 0.0) -> NDArray[np.float64]:
    """Mean (B,) of parts / wholes (K, B) over the classes whose whole is not 0."""
    defined = wholes > 0
    ratios = np.divide(parts, wholes, out=np.zeros_like(parts), where=defined)
    counts = defined.sum(axis=0)
    return np.where(counts > 0, ratios.sum(axis=0) / np.maximum(counts, 1), undefined)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "accuracy", _accuracy),
        Metric("balanced_accuracy", "balanced accuracy", _balanced_accuracy),
        Metric("macro_f1", "macro F1", _macro_f1),
        Metric("auroc", "AUROC", _auroc, of_classes=False),
        Metric("log_loss", "log loss", _log_loss, higher_is_better=False, share=False, of_classes=False),
        Metric("calibration_error", "calibration error", _calibration_error, higher_is_better=False, of_classes=False),
    )
}
# Metrics that a study can maximize.
OBJECTIVES = tuple(name for name, metric in METRICS.items() if metric.higher_is_better)
