"""Nested stratified subsets of the training images: every smaller one lies within every larger one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dataset import ImageSplit
from .errors import InvalidInputError


@dataclass(frozen=True)
class ImageSubset(ImageSplit):
    """Some images of a split. Their views and features are those that the whole split gives them, so that these are
    kept once for subsets of all sizes.

    Attributes:
        whole: The split.
        positions: Which of its images, ascending int64, shape (n,).
    """

    whole: ImageSplit
    positions: NDArray[np.int64]


def nested_order(labels: Sequence[int] | NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """An order of images of which every beginning is stratified: its first n are the subset of size n.

    How many of each class are among the first n is Sainte-Laguë's apportionment of n by the classes' sizes with at
    least one each (Balinski & Young 2001, "Fair Representation"): a divisor method, so that a larger n takes no image
    away from a class. Which ones is drawn by seed.

    Args:
        labels: Class of each image (N,).
        seed: Non-negative; each class draws from its own stream.

    Returns:
        Positions int64 (N,), one image of each class first.
    """
    labels = np.asarray(labels)
    # Of a class of m images the place-th (from 0) comes when (place + 1/2) / m of all have come.
    due = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))
        due[members] = (np.arange(len(members)) + 0.5) / len(members)
        due[members[0]] = 0.0
    drawn = np.random.default_rng(seed).random(len(labels))
    return np.lexsort((drawn, due)).astype(np.int64)


def take_subset(split: ImageSplit, size: int, seed: int) -> ImageSubset:
    """The stratified subset of a size; of one split and seed, each smaller one lies within each larger one.

    Raises:
        InvalidInputError: There are not so many images, or fewer than classes.
    """
    least = len(np.unique(split.labels))
    if not least <= size <= len(split):
        raise InvalidInputError(f"A subset has {least} to {len(split)} images, at least one of each class, not {size}.")
    positions = np.sort(nested_order(split.labels, seed)[:size])
    digest = hashlib.sha256(positions.tobytes()).hexdigest()[:16]
    return ImageSubset(
        canvas=split.canvas,
        indices=split.indices[positions],
        labels=split.labels[positions],
        classes=split.classes,
        preprocessing=split.preprocessing,
        fingerprint=f"{split.fingerprint}/{size} images {digest}",
        whole=split,
        positions=positions,
    )
