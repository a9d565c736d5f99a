"""How many channels a TIFF file has, by its header, and which files are arrays."""

from __future__ import annotations

import io
from contextlib import suppress

from PIL import TiffImagePlugin

# They read TIFF files of several channels: the second only those that are compressed in other ways than by zlib.
TIFF_LIBRARIES = ("tifffile", "imagecodecs")
_ARRAY = b"\x93NUMPY"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF's tag.
_SAMPLES_PER_PIXEL = 277
# Damaged files may go round in circles.
_MOST_PAGES = 1_000


def is_array(content: bytes) -> bool:
    """Whether a file is an array in NumPy's format."""
    return content.startswith(_ARRAY)


def is_tiff(content: bytes) -> bool:
    """Whether a file is a TIFF, of either byte order, small or big."""
    return content.startswith(_TIFF)


def tiff_layout(content: bytes) -> tuple[int, int] | None:
    """Number of channels that the first page of a TIFF says it has, and number of pages, at most 1,001; None if it is
    none, or damaged.
    """
    with suppress(Exception):  # parsers of headers raise almost anything
        if is_tiff(content):
            directory = TiffImagePlugin.ImageFileDirectory_v2(content[: 16 if b"+" in content[:4] else 8])
            stream, samples, pages = io.BytesIO(content), 0, 0
            while directory.next and pages <= _MOST_PAGES:
                stream.seek(directory.next)
                directory.load(stream)
                samples, pages = samples or int(directory.get(_SAMPLES_PER_PIXEL, 1)), pages + 1
            return samples, pages
    return None
