"""Folds: all images outside the test split, divided so that each of them validates once.

The test split is the one that a study without folds has; no fold sees it. A given validation split is none any longer:
its images join the training images, and the folds divide both.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .grouped_splits import group_faults, grouped_folds

Ints = NDArray[np.int64]


def divide_folds(
    classes: Sequence[str],
    labels: Sequence[int] | Ints,
    splits: Mapping[str, Ints],
    count: int,
    seed: int,
    groups: Sequence[str] | None = None,
) -> tuple[Ints, ...]:
    """Divide the training and validation images into folds, by scikit-learn's ``StratifiedKFold``.

    The folds' numbers of images of a class differ by at most one. With groups, none is in two folds
    (``StratifiedGroupKFold``), and the folds are as alike as that allows.

    Args:
        classes: Names of the classes.
        labels: Class of each image, int (N,).
        splits: Positions by ``train``, ``val`` and ``test``, which are left as they are.
        count: Number of folds, at least 2.
        seed: Seed, not negative.
        groups: Group of each image (N,); None without groups.

    Returns:
        Positions of each fold's images, ascending int64; together those of ``train`` and ``val``, each once. Every fold
        has an image of every class.

    Raises:
        InvalidInputError: There are no such folds; see :func:`fold_faults`.

    Example:
        >>> import numpy as np
        >>> from frostline.objectives.data.folds import divide_folds
        >>> splits = {"train": np.arange(5), "val": np.arange(5, 6), "test": np.arange(6, 8)}
        >>> [len(fold) for fold in divide_folds(["cat", "dog"], [0, 1] * 4, splits, 3, seed=0)]
        [2, 2, 2]
    """
    if faults := fold_faults(classes, labels, splits, count, groups):
        raise InvalidInputError(faults)
    pool = _outside_test(splits)
    own = np.asarray(labels, dtype=np.int64)[pool]
    if groups is not None:
        parts = grouped_folds(own, [groups[int(row)] for row in pool], count, seed)
    else:
        from sklearn.model_selection import StratifiedKFold

        folder = StratifiedKFold(count, shuffle=True, random_state=seed % 2**32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            parts = [places for _, places in folder.split(own, own)]
    return tuple(pool[places] for places in parts)


def fold_faults(
    classes: Sequence[str],
    labels: Sequence[int] | Ints,
    splits: Mapping[str, Ints],
    count: int,
    groups: Sequence[str] | None = None,
) -> list[str]:
    """Reasons why :func:`divide_folds` would fail; arguments as there."""
    pool = _outside_test(splits)
    own = np.asarray(labels, dtype=np.int64)[pool]
    counts = np.bincount(own, minlength=len(classes))
    least = int(counts.min())
    if least < count:
        return [
            f"--folds {count}: class {classes[int(counts.argmin())]!r} has {least} image{'s' * (least != 1)} outside "
            f"the test split, and each fold needs one. {_fewer(least)}, or add images."
        ]
    if groups is None:
        return []
    in_groups = [groups[int(row)] for row in pool]

    def faults_of(folds: int) -> list[str]:
        return group_faults(classes, own, in_groups, folds, f"{folds} folds")

    faults = faults_of(count)
    # Where so many folds are possible, fewer are too: two of them are joined.
    most = bisect_left(range(2, count), True, key=lambda folds: bool(faults_of(folds))) + 1 if faults else count
    return [f"--folds {count}: {fault} {_fewer(most)}." for fault in faults]


def _fewer(most: int) -> str:
    return f"Give --folds {most} or fewer" if most > 2 else "Give --folds 2" if most == 2 else "Leave out --folds"


def _outside_test(splits: Mapping[str, Ints]) -> Ints:
    return np.sort(np.concatenate([splits["train"], splits["val"]])).astype(np.int64)
