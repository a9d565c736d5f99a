"""Nested stratified subsets of the training images: every smaller subset lies within every larger one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .image_split import ImageSplit, ImageSubset, subset_of


def nested_order(labels: Sequence[int] | NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """An order of images whose first n images are a stratified subset of size n, for every n.

    The number of images of each class among the first n is Sainte-Laguë's apportionment of n by class sizes, with at
    least one each (Balinski & Young 2001, "Fair Representation"). It is a divisor method: a larger n never takes an
    image away from a class. Images within a class are drawn by the seed.

    Args:
        labels: Class of each image, int (N,).
        seed: Seed, not negative; each class draws from its own stream.

    Returns:
        Positions int64 (N,), one image of each class first.

    Example:
        >>> from frostline.objectives.data.subsets import nested_order
        >>> labels = [0] * 6 + [1] * 2
        >>> sorted(labels[position] for position in nested_order(labels, seed=0)[:4])
        [0, 0, 0, 1]
    """
    labels = np.asarray(labels)
    # Image i (from 0) of a class of m images is due when the share (i + 1/2) / m of all images has been taken.
    due = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))
        due[members] = (np.arange(len(members)) + 0.5) / len(members)
        due[members[0]] = 0.0
    drawn = np.random.default_rng(seed).random(len(labels))
    return np.lexsort((drawn, due)).astype(np.int64)


def take_subset(split: ImageSplit, size: int, seed: int) -> ImageSubset:
    """The stratified subset of a size. For one split and seed, each smaller subset lies within each larger one.

    Args:
        split: The whole split.
        size: Number of images.
        seed: Seed, not negative.

    Raises:
        InvalidInputError: The size exceeds the number of images, or is below the number of classes.
    """
    least = len(np.unique(split.labels))
    if not least <= size <= len(split):
        raise InvalidInputError(
            f"A subset needs {least} to {len(split)} images, at least one of each class, not {size}."
        )
    positions = np.sort(nested_order(split.labels, seed)[:size])
    return subset_of(split, positions, f"{size} images")
