"""Splits of a decoded dataset, and subsets of a split."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageSplit:
    """The images of one split.

    Attributes:
        canvas: Canvases of the whole dataset, uint8 (N, R, R, C), a read-only memory map.
        indices: Rows of ``canvas`` that belong to this split, ascending int64 (n,).
        labels: Class of each image of this split, int64 (n,).
        classes: Class names, in the order of the labels.
        preprocessing: Geometry of the canvases and statistics of the normalization.
        fingerprint: Identity of the images: contents of the dataset, its splits and the name of this split.
    """

    canvas: np.ndarray
    indices: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    fingerprint: str

    def __len__(self) -> int:
        return len(self.indices)

    def images(self, positions: Sequence[int] | np.ndarray | torch.Tensor | slice) -> torch.Tensor:
        """Copy the canvases of some images out of the memory map.

        Args:
            positions: Positions of the images in this split, 0 to ``len(self) - 1``, int (B,).

        Returns:
            uint8, shape (B, C, R, R), channels-last in memory.
        """
        chosen = positions if isinstance(positions, slice) else np.asarray(positions, dtype=np.int64)
        rows: np.ndarray = self.canvas[self.indices[chosen]]
        return torch.from_numpy(rows).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class ImageSubset(ImageSplit):
    """Some images of a split.

    Their augmented views and features are those of the whole split, which are cached once for subsets of all sizes.

    Attributes:
        whole: The whole split.
        positions: Positions of the images in the whole split, ascending int64 (n,).
    """

    whole: ImageSplit
    positions: NDArray[np.int64]


def subset_of(split: ImageSplit, positions: NDArray[np.int64], what: str) -> ImageSubset:
    """The images at some positions of a split.

    Args:
        split: The whole split.
        positions: Positions of the images in the split, ascending int64 (n,).
        what: What the subset is, in words, for its fingerprint.
    """
    digest = hashlib.sha256(positions.tobytes()).hexdigest()[:16]
    return ImageSubset(
        canvas=split.canvas,
        indices=split.indices[positions],
        labels=split.labels[positions],
        classes=split.classes,
        preprocessing=split.preprocessing,
        fingerprint=f"{split.fingerprint}/{what} {digest}",
        whole=split,
        positions=positions,
    )
