"""The images on which a finalist is most sure of a wrong class: mean of its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...objectives.data.gallery import Gallery
from ...search.records import FinalRecord
from .thumbnails import ThumbnailMaker

SHOWN = 8


@dataclass(frozen=True)
class Mistake:
    """A test image that is taken for another class.

    Attributes:
        position: In the test split.
        true: Its class.
        taken: The class of the highest mean probability.
        sure: That probability.
        wrong: How many seeds were wrong.
        seeds: Of how many.
        known: Whether probabilities are; else ``sure`` is the share of seeds.
        name: Of its file; None where that cannot be told.
        thumbnail: As a data URI; None where the image is not at hand.
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
    """The wrong predictions of one finalist that it is surest of, at most :data:`SHOWN`.

    Args:
        finals: Its trainings, on the same test images.
        classes: Names.
        gallery: The images, if they are at hand.
        thumbnails: Makes the pictures, as long as there is room.
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
