"""Small pictures of test images, as data URIs in the page, within a budget."""

from __future__ import annotations

import base64
import io

from PIL import Image

from ...objectives.data.gallery import Gallery

SIDE = 96
_QUALITY = 80
# Of all thumbnails of a report together, in characters of the page.
BUDGET = 250_000


class ThumbnailMaker:
    """Makes each picture once, and none beyond the budget.

    Args:
        budget: Characters of the page for all of them.
    """

    def __init__(self, budget: int = BUDGET) -> None:
        self._left = budget

    def make(self, gallery: Gallery, image: int) -> str | None:
        """A test image as a JPEG in a data URI; None where the budget is spent.

        Args:
            gallery: Holds it.
            image: Its place in the test split.
        """
        picture = Image.fromarray(gallery.canvas[gallery.test[image]])
        picture.thumbnail((SIDE, SIDE))
        data = io.BytesIO()
        picture.save(data, "JPEG", quality=_QUALITY, optimize=True)
        uri = f"data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}"
        if len(uri) > self._left:
            return None
        self._left -= len(uri)
        return uri
