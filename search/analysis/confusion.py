"""The confusion matrix of a classifier and its most confident errors, for reports and MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        counts: Numbers of images (K, K): rows are true classes, columns predicted classes.
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the counts as shares of their true class (K, K); 0 in the row of a class without images."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        image: Position of the image in the split.
        label: True class, by number.
        predicted: Predicted class, by number.
        probability: Probability of the predicted class, in [0, 1].
        label_probability: Probability of the true class, in [0, 1].
    """

    image: int
    label: int
    predicted: int
    probability: float
    label_probability: float


def confusion_of(labels: NDArray[np.int64], probabilities: NDArray[np.float32], classes: Sequence[str]) -> Confusion:
    """Return the confusion matrix of predictions.

    Args:
        labels: True classes (N,), each in 0..K-1.
        probabilities: Class probabilities (N, K); the highest is the prediction, the first of equal ones.
        classes: Names of the K classes.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import confusion_of
        >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], dtype=np.float32)
        >>> confusion_of(np.array([0, 0, 1]), probabilities, ["cat", "dog"]).counts.tolist()
        [[1, 1], [0, 1]]
    """
    size = len(classes)
    pairs = labels * size + probabilities.argmax(axis=1)
    return Confusion(tuple(classes), np.bincount(pairs, minlength=size * size).reshape(size, size))


def worst_mistakes(labels: NDArray[np.int64], probabilities: NDArray[np.float32], n: int) -> list[Mistake]:
    """Return the errors with the highest probability of the wrong class; of equal ones, the earlier image first.

    Args:
        labels: True classes (N,).
        probabilities: Class probabilities (N, K), of one training or the mean over several.
        n: Maximum number of errors.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import worst_mistakes
        >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], dtype=np.float32)
        >>> [mistake.image for mistake in worst_mistakes(np.array([0, 0, 0]), probabilities, n=5)]
        [1, 2]
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
