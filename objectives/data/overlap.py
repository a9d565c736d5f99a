"""How much two images look alike: correlations of small versions of them, whole, mirrored, or of windows of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from .gallery import visible
from .threads import in_threads

Floats = NDArray[np.float32]
# Images, uint8 (R, R, C) each: an array of all, perhaps a memory map, or a list.
Images = NDArray[np.uint8] | Sequence[NDArray[np.uint8]]

# Side of the small versions of whole images, pixels.
WHOLE_SIDE = 24
# Sides of the windows, as shares of the image: a copy may be cropped to four fifths.
_SHARES = (1.0, 0.95, 0.9, 0.85, 0.8)


@dataclass(frozen=True)
class _Grid:
    """A resolution at which windows are compared.

    Attributes:
        side: Side of a window, pixels; windows lie at all whole pixels.
        step: Every so many pixels is compared; the images hold no finer detail.
        pairs: Number of pairs to compare at once, which limits the memory to about 20 MB.
        prepared: Number of pairs whose images are made small at once, which limits the memory to about 200 MB.
    """

    side: int
    step: int
    pairs: int
    prepared: int

    @property
    def sides(self) -> list[int]:
        """Sides of the images within which a window of :attr:`side` is one of the shares."""
        return sorted({round(self.side / share) for share in _SHARES})


# The fine grid tells images of one scene apart; the coarse one is forty times as fast.
_COARSE, _FINE = _Grid(20, 2, 200, 4096), _Grid(48, 2, 16, 512)
# Least correlation on the coarse grid with which a pair is compared on the fine one: 99 of 100 crops reach it.
_PROMISING = 0.93


def standardized(values: NDArray[np.floating]) -> Floats:
    """Rows (..., D) with mean 0 and length 1, so that their products are correlations; constant rows become 0.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data.overlap import standardized
        >>> first, second = standardized(np.array([[1.0, 2.0, 3.0], [10.0, 30.0, 50.0]]))
        >>> round(float(first @ second), 6)
        1.0
    """
    centered = values - values.mean(axis=-1, keepdims=True)
    lengths = np.linalg.norm(centered, axis=-1, keepdims=True)
    return (centered / np.maximum(lengths, 1e-6)).astype(np.float32)


def small_versions(canvases: Images, side: int, detail: int | None = None) -> Floats:
    """Images as area means, float32 (N, side, side, 3); of more channels, the first three.

    Args:
        canvases: Images, uint8 (R, R, C) each.
        side: Side of the small versions, pixels.
        detail: Side to which the images are reduced before, which removes finer detail; None for ``side``.
    """
    small = np.empty((len(canvases), side, side, 3), dtype=np.float32)

    def reduce(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
        reduced = _resized(Image.fromarray(visible(np.asarray(canvas))), detail or side)
        return np.asarray(reduced.resize((side, side), Image.Resampling.BICUBIC))

    for place, reduced in enumerate(in_threads(reduce, canvases)):
        small[place] = reduced
    return small


def _resized(image: Image.Image, side: int) -> Image.Image:
    shrinks = image.width >= side
    return image.resize((side, side), Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR)


def mirrored(small: Floats) -> Floats:
    """Small versions of the mirrored images."""
    return small[:, :, ::-1]


def window_correlations(canvases: Images, pairs: NDArray[np.int64]) -> Floats:
    """Highest correlation of each image of a pair with a window of its partner, or the other way round.

    Windows have 80 to 100 % of the side, at any place. Pairs that do not look promising on a coarse grid keep their
    correlation there, which is below that of a copy.

    Args:
        canvases: All images, uint8 (N, R, R, C), perhaps a memory map.
        pairs: Rows of the images, int64 (P, 2).

    Returns:
        float32 (P,), at most 1.
    """
    found = _compare(canvases, pairs, _COARSE)
    promising = np.flatnonzero(found >= _PROMISING)
    found[promising] = _compare(canvases, pairs[promising], _FINE)
    return found


def _compare(canvases: Images, pairs: NDArray[np.int64], grid: _Grid) -> Floats:
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), grid.prepared):
        # An image is in several pairs, and is made small once for all of them.
        rows, places = np.unique(pairs[start : start + grid.prepared], return_inverse=True)
        versions = {
            side: small_versions([canvases[row] for row in rows], side, round(side / grid.step)) for side in grid.sides
        }
        found[start : start + grid.prepared] = _correlations(versions, places.reshape(-1, 2), grid)
    return found


def _correlations(versions: dict[int, Floats], pairs: NDArray[np.int64], grid: _Grid) -> Floats:
    """Compare pairs of rows of images in all sizes in which windows are compared."""
    found = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), grid.pairs):
        part = slice(start, start + grid.pairs)
        one, other = ({side: images[rows] for side, images in versions.items()} for rows in pairs[part].T)
        found[part] = np.maximum(_best_window(one, other, grid), _best_window(other, one, grid))
    return found


def _best_window(whole: dict[int, Floats], windowed: dict[int, Floats], grid: _Grid) -> Floats:
    """Highest correlation of each whole image with a window of its partner."""
    chosen = slice(grid.step // 2, None, grid.step)
    template = standardized(whole[grid.side][:, chosen, chosen].reshape(len(whole[grid.side]), -1))
    best = np.full(len(template), -1.0, dtype=np.float32)
    for images in windowed.values():
        windows = sliding_window_view(images, (grid.side, grid.side), axis=(1, 2))[..., chosen, chosen]
        rows = np.moveaxis(windows, 3, -1).reshape(len(template), -1, template.shape[1])
        # The template has mean 0, so the mean of a window matters for its length only.
        squares = np.einsum("nwd,nwd->nw", rows, rows) - rows.shape[2] * rows.mean(axis=2) ** 2
        products = np.einsum("nwd,nd->nw", rows, template)
        best = np.maximum(best, (products / np.sqrt(np.maximum(squares, 1e-6))).max(axis=1))
    return best
