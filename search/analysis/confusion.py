"""The errors of a training or a finalist: its confusion matrix and its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..records import FinalRecord

# Number of mistakes shown of a training or a finalist.
WORST = 12


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        counts: Numbers of predictions (K, K): rows are true classes, columns predicted classes.
        trainings: Number of trainings that are counted together; each predicts every image once.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import Confusion
        >>> confusion = Confusion(("cat", "dog"), np.array([[3, 1], [0, 4]]))
        >>> confusion.shares.tolist(), confusion.images, confusion.pairs
        ([[0.75, 0.25], [0.0, 1.0]], [4, 4], [(0, 1)])
    """

    classes: tuple[str, ...]
    counts: NDArray[np.int64]
    trainings: int = 1

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the counts as shares of their true class (K, K); 0 in the row of a class without images."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    @property
    def images(self) -> list[int]:
        """Return the number of images of each class."""
        return (self.counts.sum(axis=1) // self.trainings).tolist()

    @property
    def never_right(self) -> list[str]:
        """Return the classes that have images, none of which is predicted right."""
        right, images = self.counts.diagonal(), self.counts.sum(axis=1)
        return [name for name, hits, number in zip(self.classes, right, images, strict=True) if number and not hits]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Return the true and predicted class of every confusion, by falling share of the true class."""
        shares, n = self.shares, len(self.classes)
        pairs = [(true, taken) for true in range(n) for taken in range(n) if true != taken and shares[true, taken] > 0]
        return sorted(pairs, key=lambda pair: -shares[pair])


@dataclass(frozen=True)
class Mistake:
    """A misclassified image.

    Attributes:
        image: Position of the image in the split.
        label: True class, by number.
        predicted: Predicted class, by number: that of the highest mean probability.
        probability: Probability of the predicted class, in [0, 1]; the mean over trainings.
        label_probability: Probability of the true class, in [0, 1]; the mean over trainings.
        wrong: Number of trainings that misclassify the image.
    """

    image: int
    label: int
    predicted: int
    probability: float
    label_probability: float
    wrong: int = 1


@dataclass(frozen=True)
class Errors:
    """The errors of one or more trainings on the same images.

    Attributes:
        confusion: Confusion matrix over the trainings.
        mistakes: Most confident mistakes, the worst first.
    """

    confusion: Confusion
    mistakes: tuple[Mistake, ...]


def errors_of(finals: Sequence[FinalRecord], classes: Sequence[str]) -> Errors:
    """Return the errors of a finalist over its trainings, or of one of them; reports and MLflow show these.

    Args:
        finals: Trainings of one finalist, at least one, tested on the same images.
        classes: Names of the classes.
    """
    labels, probabilities = finals[0].labels, np.stack([final.probabilities for final in finals])
    return Errors(confusion_of(labels, probabilities, classes), tuple(worst_mistakes(labels, probabilities, WORST)))


def confusion_of(labels: NDArray[np.int64], probabilities: NDArray[np.floating], classes: Sequence[str]) -> Confusion:
    """Return the confusion matrix of predictions.

    Args:
        labels: True classes (N,), each in 0..K-1.
        probabilities: Class probabilities (N, K), or those of several trainings (S, N, K), which are counted together;
            the highest is the prediction, the first of equal ones.
        classes: Names of the K classes.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import confusion_of
        >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]], dtype=np.float32)
        >>> confusion_of(np.array([0, 0, 1]), probabilities, ["cat", "dog"]).counts.tolist()
        [[1, 1], [0, 1]]
    """
    trainings, size = _trainings(probabilities), len(classes)
    pairs = labels * size + trainings.argmax(axis=2)
    counts = np.bincount(pairs.ravel(), minlength=size * size).reshape(size, size)
    return Confusion(tuple(classes), counts, len(trainings))


def worst_mistakes(labels: NDArray[np.int64], probabilities: NDArray[np.floating], n: int) -> list[Mistake]:
    """Return the errors with the highest probability of the wrong class; of equal ones, the earlier image first.

    Args:
        labels: True classes (N,).
        probabilities: Class probabilities (N, K), or those of several trainings (S, N, K), whose mean counts.
        n: Maximum number of errors.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis import worst_mistakes
        >>> probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], dtype=np.float32)
        >>> [mistake.image for mistake in worst_mistakes(np.array([0, 0, 0]), probabilities, n=5)]
        [1, 2]
    """
    trainings = _trainings(probabilities)
    mean = trainings.mean(axis=0)
    predicted, misses = mean.argmax(axis=1), (trainings.argmax(axis=2) != labels).sum(axis=0)
    images = np.flatnonzero(predicted != labels)
    surest = images[np.argsort(-mean[images, predicted[images]], kind="stable")][:n]
    return [
        Mistake(
            image=int(image),
            label=int(labels[image]),
            predicted=int(predicted[image]),
            probability=float(mean[image, predicted[image]]),
            label_probability=float(mean[image, labels[image]]),
            wrong=int(misses[image]),
        )
        for image in surest
    ]


def _trainings(probabilities: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return probabilities as those of several trainings (S, N, K)."""
    return probabilities.reshape(-1, *probabilities.shape[-2:])
