"""What a classifier mistakes for what, and the mistakes of which it is surest: for reports and MLflow alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """How often each class is taken for each.

    Attributes:
        classes: Names, in the order of the labels.
        counts: Images (K, K): row the true class, column the predicted one.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Counts as shares of their true class (K, K); 0 in the row of a class without images."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)


@dataclass(frozen=True)
class Mistake:
    """An image that was taken for another class.

    Attributes:
        image: Its position in the split.
        label: Its true class, by number.
        predicted: The class that it was taken for.
        probability: Of the predicted class, in [0, 1].
        label_probability: Of the true class, in [0, 1].
    """

    image: int
    label: int
    predicted: int
    probability: float
    label_probability: float


def confusion(labels: NDArray[np.int64], probabilities: NDArray[np.float32], classes: Sequence[str]) -> Confusion:
    """Count which class is taken for which.

    Args:
        labels: True classes (N,), each in 0..K-1.
        probabilities: Of the classes (N, K); the highest is the prediction, of equals the first.
        classes: Names of the K classes.
    """
    size = len(classes)
    pairs = labels * size + probabilities.argmax(axis=1)
    return Confusion(tuple(classes), np.bincount(pairs, minlength=size * size).reshape(size, size))


def worst_mistakes(labels: NDArray[np.int64], probabilities: NDArray[np.float32], n: int) -> list[Mistake]:
    """The mistakes with the highest probability of the wrong class, at most ``n``; of equals the earlier image first.

    Args:
        labels: True classes (N,).
        probabilities: Of the classes (N, K). The mean over several trainings ranks what all of them mistake.
        n: How many.
    """
    predicted = probabilities.argmax(axis=1)
    images = np.flatnonzero(predicted != labels)
    surest = images[np.argsort(-probabilities[images, predicted[images]], kind="stable")][:n]
    return [
        Mistake(
            image=int(image),
            label=int(labels[image]),
            predicted=int(predicted[image]),
            probability=float(probabilities[image, predicted[image]]),
            label_probability=float(probabilities[image, labels[image]]),
        )
        for image in surest
    ]
