"""The canvases of a listing's images, in their order: each read, hashed or checked, and decoded in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InvalidInputError
from ..preprocessing import Preprocessing
from .bands import decode_canvas
from .decoding import UndecodableImageError, quiet_decoding
from .digests import UNREADABLE, Stamp, content_digest, file_digest, settled_stamp
from .listing import Item
from .pixel_scale import Whites
from .threads import in_threads

_MAX_FILE_BYTES = 512 * 2**20

Progress = Callable[[int, int], None]


class CanvasReader:
    """Reads images.

    Args:
        preprocessing: Preprocessing whose geometry decides the canvases.
        whites: Which of more than 8-bit values becomes white.
        on_progress: Called with (images done, all images).

    Attributes:
        pixels: Width and height of each decoded image, by name.
    """

    def __init__(self, preprocessing: Preprocessing, whites: Whites, on_progress: Progress) -> None:
        self.pixels: dict[str, tuple[int, int]] = {}
        self._preprocessing = preprocessing
        self._whites = whites
        self._on_progress = on_progress

    def read_once(self, items: Sequence[Item], stamped: list[tuple[Stamp | None, str]]) -> Iterator[np.ndarray | str]:
        """For each item its canvas, or the reason why there is none; appends its stamp and digest to ``stamped``."""

        def read(item: Item) -> tuple[Stamp | None, str, np.ndarray | str]:
            stamp = settled_stamp(item)
            try:
                content = _read(item)
            except OSError as error:
                return stamp, UNREADABLE, error.strerror or str(error)
            except UndecodableImageError as error:
                return stamp, file_digest(item), str(error)
            return stamp, content_digest(content), self._canvas(item.name, content)

        for stamp, digest, canvas in self._reported(read, items):
            stamped.append((stamp, digest))
            yield canvas

    def read_again(self, items: Sequence[Item], digests: Sequence[str]) -> Iterator[np.ndarray | str]:
        """For each item, of a known digest, its canvas, or the reason why there is none.

        Raises:
            InvalidInputError: A file changed or can no longer be read.
        """

        def read(pair: tuple[Item, str]) -> np.ndarray | str:
            try:
                content = _read_unchanged(*pair)
            except UndecodableImageError as error:
                return str(error)
            return self._canvas(pair[0].name, content)

        yield from self._reported(read, list(zip(items, digests, strict=True)))

    def _reported(self, function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
        """Map in threads, without Pillow's warnings, and report each result."""
        with quiet_decoding():
            for done, result in enumerate(in_threads(function, values), start=1):
                self._on_progress(done, len(values))
                yield result

    def _canvas(self, name: str, content: bytes | Image.Image) -> np.ndarray | str:
        try:
            canvas, self.pixels[name] = decode_canvas(content, self._preprocessing, self._whites)
            return canvas
        except UndecodableImageError as error:
            return str(error)


def _read(item: Item) -> bytes | Image.Image:
    """Read an image, unless it is too large to be held in memory.

    Raises:
        OSError: It cannot be read.
        UndecodableImageError: It is too large.
    """
    if isinstance(item.content, Path) and item.content.stat().st_size > _MAX_FILE_BYTES:
        raise UndecodableImageError(f"larger than {_MAX_FILE_BYTES // 2**20} MiB")
    return item.read()


def _read_unchanged(item: Item, digest: str) -> bytes | Image.Image:
    """Read an image and check its digest, so that a cache never holds other images than its key says."""
    try:
        content = _read(item)
    except OSError as error:
        if digest == UNREADABLE:
            raise UndecodableImageError(error.strerror or str(error)) from error
        raise InvalidInputError(
            f"{item.name} can no longer be read: {error.strerror}. Run the command again."
        ) from error
    if content_digest(content) != digest:
        raise InvalidInputError(
            f"{item.name} changed while it was being read. Run the command again when nothing writes to the dataset."
        )
    return content
