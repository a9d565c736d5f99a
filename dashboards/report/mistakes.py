"""The most confident mistakes of a finalist: wrong predictions with the highest probability, averaged over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...objectives.data import Gallery
from ...search.records import FinalRecord
from .thumbnails import ThumbnailMaker

SHOWN = 8


@dataclass(frozen=True)
class Mistake:
    """A misclassified test image.

    Attributes:
        position: Index of the image in the test split.
        true: Name of the true class.
        taken: Name of the predicted class, which has the highest mean probability.
        sure: Mean probability of the predicted class.
        wrong: Number of seeds that misclassify the image.
        seeds: Number of seeds.
        known: Whether probabilities are known; otherwise ``sure`` is a share of seeds.
        name: Name of the image's file; None if unknown.
        thumbnail: Picture as a data URI; None if the image is not available.
    """

    position: int
    true: str
    taken: str
    sure: float
    wrong: int
    seeds: int
    known: bool
    name: str | None = None
    thumbnail: str | None = None


def worst_mistakes(
    finals: Sequence[FinalRecord], classes: Sequence[str], gallery: Gallery | None, thumbnails: ThumbnailMaker
) -> list[Mistake]:
    """Return the most confident wrong predictions of one finalist, at most :data:`SHOWN`.

    Args:
        finals: Trainings of the finalist, tested on the same images.
        classes: Names of the classes.
        gallery: Images of the study; None for mistakes without pictures.
        thumbnails: Maker of the pictures.
    """
    labels = finals[0].labels
    mean: NDArray[np.float64] = np.mean(np.stack([final.probabilities for final in finals]), axis=0)
    taken, sure = np.argmax(mean, axis=1), np.max(mean, axis=1)
    wrong = [image for image in range(len(labels)) if taken[image] != labels[image]]
    worst = sorted(wrong, key=lambda image: -sure[image])[:SHOWN]
    misses = np.sum(np.stack([final.predictions != labels for final in finals]), axis=0)
    return [
        Mistake(
            position=image,
            true=classes[int(labels[image])],
            taken=classes[int(taken[image])],
            sure=float(sure[image]),
            wrong=int(misses[image]),
            seeds=len(finals),
            known=not finals[0].classes_only,
            name=None if gallery is None else gallery.names[gallery.test[image]],
            thumbnail=None if gallery is None else thumbnails.make(gallery, image),
        )
        for image in worst
    ]
