"""Likely label errors: images that a probe, which never saw them, clearly takes for another class.

The probe is a logistic regression on features of a pretrained network, cross-validated, so that each prediction is out
of fold. Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset
Labels") counts an image as one of another class if that class is at least as probable as it is on average on images
labeled with it. Of these, the ones are reported for which the other class is :data:`CLEARLY` times as probable as the
label; without that, most would be images that are merely hard. ``benchmarks/data_faults.py`` measures precision and
recall.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# By how much another class must be more probable than the label.
CLEARLY = 10.0
# Inverse strength of the probe's regularization on standardized features: a strong one, so that single wrong labels do
# not pull the probe.
_STRENGTH = 0.003
_FOLDS = 5


@dataclass(frozen=True)
class DoubtfulLabel:
    """A label that the probe contradicts.

    Attributes:
        position: Position of the image.
        suggested: Class that the probe takes it for.
        probability: Probability of that class.
        label_probability: Probability of the label.
    """

    position: int
    suggested: int
    probability: float
    label_probability: float


def out_of_fold(features: NDArray[np.floating], labels: NDArray[np.int64], seed: int = 0) -> NDArray[np.float64]:
    """Class probabilities of each image by a probe that was fitted to other images.

    Args:
        features: Pooled features (N, D).
        labels: Labels (N,), each class 0 ... K-1 at least twice.
        seed: Seed of the folds, which have the same share of each class.

    Returns:
        Probabilities (N, K).
    """
    # Slow to import, and readers of faults do without.
    import torch
    from sklearn.model_selection import StratifiedKFold
    from sklearn.preprocessing import StandardScaler

    from ..logistic_regression import fit_logistic_regression, within_span

    classes = int(labels.max()) + 1
    probabilities = np.empty((len(labels), classes))
    folds = StratifiedKFold(min(_FOLDS, int(np.bincount(labels).min())), shuffle=True, random_state=seed)
    for fitted, held in folds.split(features, labels):
        standard = torch.from_numpy(StandardScaler().fit(features[fitted]).transform(features)).float()
        own, whole = within_span(standard[fitted])
        start = own.new_zeros(classes, own.shape[1]), own.new_zeros(classes)
        weight, bias = fit_logistic_regression(own, torch.from_numpy(labels[fitted]), _STRENGTH, start)
        probabilities[held] = (standard[held] @ whole(weight).T + bias).softmax(dim=1).numpy()
    return probabilities


def doubtful_labels(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> list[DoubtfulLabel]:
    """Labels that out-of-fold predictions contradict, the least probable label first.

    Args:
        probabilities: Out-of-fold class probabilities (N, K).
        labels: Labels (N,), each class at least once.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data.label_errors import doubtful_labels
        >>> probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
        >>> [doubt.position for doubt in doubtful_labels(probabilities, np.array([0, 0, 1, 1]))]
        [3]
    """
    images = np.arange(len(labels))
    usual = np.array([probabilities[labels == label, label].mean() for label in range(probabilities.shape[1])])
    own = probabilities[images, labels]
    others = probabilities.copy()
    others[images, labels] = -1.0
    suggested = others.argmax(axis=1)
    other = others[images, suggested]
    doubted = np.flatnonzero((other >= usual[suggested]) & (other > CLEARLY * own))
    return [
        DoubtfulLabel(int(image), int(suggested[image]), float(other[image]), float(own[image]))
        for image in doubted[np.argsort(own[doubted], kind="stable")]
    ]


def never_right(probabilities: NDArray[np.floating], labels: NDArray[np.int64]) -> list[int]:
    """Classes of which no image is predicted right.

    Args:
        probabilities: Class probabilities (N, K).
        labels: Labels (N,).

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data.label_errors import never_right
        >>> never_right(np.array([[0.9, 0.1], [0.8, 0.2]]), np.array([0, 1]))
        [1]
    """
    classes = np.arange(probabilities.shape[1])
    right = labels[probabilities.argmax(axis=1) == labels]
    return np.setdiff1d(np.intersect1d(labels, classes), right).tolist()
