"""Thumbnails of images as data URIs, within a size budget."""

from __future__ import annotations

import base64
import io

from PIL import Image

from ...objectives.data import Gallery, visible

SIDE = 96
_QUALITY = 80
# Size of all thumbnails of a report together, in characters.
BUDGET = 250_000


class ThumbnailMaker:
    """Makes thumbnails until their budget is spent.

    Args:
        budget: Size of all thumbnails together, in characters.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget

    def make(self, gallery: Gallery, image: int) -> str | None:
        """Return a test image as a JPEG in a data URI; None if the budget is spent.

        Args:
            gallery: Images of the study.
            image: Index of the image in the test split.
        """
        return self.make_row(gallery, int(gallery.test[image]))

    def make_row(self, gallery: Gallery, row: int) -> str | None:
        """Return any image as a JPEG in a data URI; None if the budget is spent.

        Args:
            gallery: Images of the study.
            row: Row of the image among all images of the study.
        """
        picture = Image.fromarray(visible(gallery.canvas[row]))
        picture.thumbnail((SIDE, SIDE))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=_QUALITY, optimize=True)
        uri = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
        if len(uri) > self._left:
            return None
        self._left -= len(uri)
        return uri
