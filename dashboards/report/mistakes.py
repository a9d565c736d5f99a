"""The most confident mistakes of a finalist with their pictures."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.data import Gallery
from ...search.analysis import Errors, Mistake
from .thumbnails import ThumbnailMaker


@dataclass(frozen=True)
class ShownMistake:
    """A misclassified test image as a page shows it.

    Attributes:
        mistake: The mistake.
        true: Name of the true class.
        taken: Name of the predicted class.
        name: Name of the image's file; None if unknown.
        thumbnail: Picture as a data URI; None if the image is not available.
    """

    mistake: Mistake
    true: str
    taken: str
    name: str | None = None
    thumbnail: str | None = None


def show_mistakes(errors: Errors, gallery: Gallery | None, thumbnails: ThumbnailMaker) -> list[ShownMistake]:
    """Add names and pictures to the mistakes of a finalist.

    Args:
        errors: Errors of the finalist.
        gallery: Images of the study; None for mistakes without pictures.
        thumbnails: Maker of the pictures.
    """
    classes = errors.confusion.classes
    return [
        ShownMistake(
            mistake=mistake,
            true=classes[mistake.label],
            taken=classes[mistake.predicted],
            name=None if gallery is None else gallery.names[gallery.test[mistake.image]],
            thumbnail=None if gallery is None else thumbnails.make(gallery, mistake.image),
        )
        for mistake in errors.mistakes
    ]
