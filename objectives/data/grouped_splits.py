"""Splits of images in groups: each group in one split, each class in every split, and shares as near as that allows.

scikit-learn's ``StratifiedGroupKFold`` makes twenty folds (seven of very many groups), each with about the same share
of every class. Three of them go to each of validation and test: of many choices, the one with the best shares. Fewer
groups than that are folds themselves. Where a class is missing in a split, single groups are moved while that helps;
where that does not suffice, an integer program assigns them, which has no solution only if there is no such split.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError

Ints = NDArray[np.int64]

# Number of folds, and of groups above which there are fewer, since their time is that of groups times folds.
_FOLDS, _FEWER_FOLDS = 20, 7
_MANY_GROUPS = 2000
_CHOICES = 500
_CHANCES = 50
# Random divisions that are improved by moves of single groups.
_STARTS = 10
# Steps of the integer program for three splits, and for more, of which one takes longer.
_NODES, _NODES_OF_MANY = 10_000, 1_000
# Groups that are moved one by one, and the largest table of groups and classes whose groups are.
_MOVES, _LARGEST_TABLE = 200, 5_000_000
# Classes that are examined one by one where a split is impossible.
_EXAMINED = 20
_SHOWN = 3


def grouped_split(
    labels: Sequence[int] | Ints, groups: Sequence[str], fractions: Mapping[str, float], seed: int
) -> dict[str, Ints]:
    """Divide images so that no group is in two splits.

    Every split gets at least one image of every class. Where there are 30 groups or more, its share of each class is
    off its fraction by less than the share of the class's largest group, plus 1.5 points.

    Args:
        labels: Class of each image, int (N,).
        groups: Group of each image (N,).
        fractions: Share of each split, by name; the shares add up to 1.
        seed: Seed, not negative.

    Returns:
        Positions by split, ascending int64; together they are 0 ... N-1, each once.

    Raises:
        InvalidInputError: There is no such split; see :func:`group_faults`.

    Example:
        >>> from frostline.objectives.data.grouped_splits import grouped_split
        >>> parts = grouped_split([0, 1] * 6, list("aabbccddeeff"), {"train": 0.5, "val": 0.5}, seed=0)
        >>> "".join("aabbccddeeff"[position] for position in parts["train"])
        'bbccdd'
    """
    _, label_codes = np.unique(np.asarray(labels), return_inverse=True)
    _, group_codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    names = list(fractions)
    shares = np.array([fractions[name] for name in names])
    table = _table(label_codes, group_codes)
    placed = _covering(_by_folds(label_codes, group_codes, shares, seed), table, shares)
    return {name: np.flatnonzero(placed[group_codes] == place) for place, name in enumerate(names)}


def grouped_folds(labels: Sequence[int] | Ints, groups: Sequence[str], count: int, seed: int) -> list[Ints]:
    """Divide images into folds so that no group is in two of them, and every fold has an image of every class.

    Args:
        labels: Class of each image, int (N,).
        groups: Group of each image (N,).
        count: Number of folds.
        seed: Seed, not negative.

    Returns:
        Positions of each fold's images, ascending int64.

    Raises:
        InvalidInputError: There are no such folds; see :func:`group_faults`.
    """
    _, label_codes = np.unique(np.asarray(labels), return_inverse=True)
    _, group_codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    table = _table(label_codes, group_codes)
    placed = _folds(label_codes.tobytes(), group_codes.tobytes(), seed, count)
    if not _covers(placed, table, count):
        placed = _repaired(placed, table, _even(count))
    if not _covers(placed, table, count) and (found := _by_moves(table, count, seed)) is not None:
        placed = found
    placed = _covering(placed, table, _even(count))
    return [np.flatnonzero(placed[group_codes] == fold) for fold in range(count)]


def _covering(placed: Ints, table: Ints, shares: NDArray[np.float64]) -> Ints:
    """The split of each group (G,), changed so that every class is in every split.

    Raises:
        InvalidInputError: That is impossible.
    """
    if not _covers(placed, table, len(shares)):
        placed = _repaired(placed, table, shares)
    if not _covers(placed, table, len(shares)):
        found = _by_program(table, shares)
        if found is None:
            raise InvalidInputError("No split puts every class into every split and each group into one.")
        placed = _repaired(found, table, shares)
    return placed


def group_faults(classes: Sequence[str], labels: Ints, groups: Sequence[str], splits: int, called: str) -> list[str]:
    """Reasons why groups cannot be divided, which name the classes that make it impossible.

    Args:
        classes: Names of the classes.
        labels: Class of each image to be divided, int (N,), each with at least one image.
        groups: Group of each image (N,).
        splits: Number of splits to make.
        called: What they are called, such as ``train, val, test``.
    """
    names, group_codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    table = _table(labels, group_codes, len(classes))
    faults = []
    for label in np.flatnonzero((table > 0).sum(axis=0) < splits).tolist():
        own = [repr(name) for name in names[table[:, label] > 0].tolist()]
        faults.append(
            f"Class {classes[label]!r} has images of {len(own)} group{'s' * (len(own) != 1)} ({', '.join(own)}) but "
            f"needs at least {splits}, because no group may be in two of {called}. "
            "Add images of other groups, remove the class, or leave the groups out."
        )
    if faults or _covers_by_chance(table, splits) or _by_moves(table, splits, seed=0) is not None:
        return faults
    if _by_program(table, _even(splits)) is not None:
        return faults
    return [_impossible(classes, table, splits)]


def _by_moves(table: Ints, splits: int, seed: int) -> Ints | None:
    """The split of each group (G,), from random divisions whose groups are moved one by one; None if that fails."""
    rng = np.random.default_rng(seed)
    for _ in range(_STARTS):
        placed = _repaired(rng.permutation(np.arange(len(table)) % splits), table, _even(splits))
        if _covers(placed, table, splits):
            return placed
    return None


def _covers_by_chance(table: Ints, splits: int) -> bool:
    """Whether one of a few random divisions of the groups has every class in every split, as most do."""
    rng = np.random.default_rng(0)
    for _ in range(_CHANCES):
        placed = rng.integers(0, splits, len(table))
        if _covers(placed, table, splits):
            return True
    return False


def _covers(placed: Ints, table: Ints, splits: int) -> bool:
    """Whether every class is in every split."""
    return all(table[placed == split].any(axis=0).all() for split in range(splits))


def _even(count: int) -> NDArray[np.float64]:
    return np.full(count, 1 / count)


def _impossible(classes: Sequence[str], table: Ints, splits: int) -> str:
    """Which classes make a split impossible: those without one of which there would be one; else the rarest."""
    rarest = np.argsort((table > 0).sum(axis=0), kind="stable")[:_EXAMINED]
    guilty = [label for label in rarest if _by_program(np.delete(table, label, axis=1), _even(splits)) is not None]
    shown = [repr(classes[label]) for label in (guilty or rarest.tolist())[:_SHOWN]]
    which = f"Without {' or '.join(shown)}, there is one." if guilty else f"The rarest are {', '.join(shown)}."
    return (
        f"No division of the {len(table):,} groups puts every class into each of {splits} splits, because classes "
        f"share their few groups. {which} Add images of other groups, or remove classes."
    )


def _table(labels: Ints, group_codes: Ints, classes: int | None = None) -> Ints:
    """Number of images of each group and class (G, K)."""
    table = np.zeros((group_codes.max() + 1, classes or labels.max() + 1), dtype=np.int64)
    np.add.at(table, (group_codes, labels), 1)
    return table


def _by_folds(labels: Ints, group_codes: Ints, shares: NDArray[np.float64], seed: int) -> Ints:
    """The split of each group (G,), of whole folds: of many choices, the one with the best shares."""
    table = _table(labels, group_codes)
    groups = len(table)
    folds = np.arange(groups)
    if groups >= _FOLDS:
        count = _FOLDS if groups <= _MANY_GROUPS else _FEWER_FOLDS
        folds = _folds(labels.tobytes(), group_codes.tobytes(), seed, count)
    per_fold = np.zeros((folds.max() + 1, table.shape[1]), dtype=np.int64)
    np.add.at(per_fold, folds, table)
    # Which split each fold goes to (choice, fold), and the images of each class there (choice, split, class).
    choices = _choices(len(per_fold), len(table), shares, np.random.default_rng(seed))
    member = choices[:, None, :] == np.arange(len(shares))[:, None]
    costs = _costs(member.astype(np.int64) @ per_fold, table, shares[:, None]).sum(axis=1)
    return choices[np.argmin(costs)][folds]


def _costs(images: NDArray[Any], table: Ints, shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far splits with these images of each class (..., K) are from their shares (..., 1); a lack costs most."""
    off = images / table.sum(axis=0) - shares
    total = images.sum(axis=-1) / table.sum() - shares[..., 0]
    return (off**2).mean(axis=-1) + total**2 + (images == 0).sum(axis=-1)


def _repaired(placed: Ints, table: Ints, shares: NDArray[np.float64]) -> Ints:
    """Move one group after the other, each time the one that helps most, until none helps."""
    placed, splits, every = placed.copy(), np.arange(len(shares)), np.arange(len(placed))
    if table.size > _LARGEST_TABLE:
        return placed
    for _ in range(_MOVES):
        images = np.array([table[placed == split].sum(axis=0) for split in splits])
        costs = _costs(images, table, shares[:, None])
        left = _costs(images[placed] - table, table, shares[placed][:, None]) - costs[placed]
        joined = np.stack([_costs(images[s] + table, table, shares[[s]][:, None]) - costs[s] for s in splits], axis=1)
        gains = left[:, None] + joined
        gains[every, placed] = 0
        group, split = np.unravel_index(np.argmin(gains), gains.shape)
        if gains[group, split] > -1e-12:
            break
        placed[group] = split
    return placed


def _choices(folds: int, groups: int, shares: NDArray[np.float64], rng: np.random.Generator) -> Ints:
    """Ways to give folds to splits, (choice, fold): as many as the shares say, or where each is a group any number."""
    if folds == groups:
        return rng.choice(len(shares), size=(_CHOICES, folds), p=shares)
    sizes = np.maximum(1, np.round(shares * folds).astype(np.int64))
    sizes[np.argmax(shares)] += folds - sizes.sum()
    return rng.permuted(np.tile(np.repeat(np.arange(len(shares)), sizes), (_CHOICES, 1)), axis=1)


@lru_cache(maxsize=4)
def _folds(labels: bytes, group_codes: bytes, seed: int, count: int) -> Ints:
    """The fold of each group, by scikit-learn; kept, because a study is split when it is checked and when decoded."""
    y, own = np.frombuffer(labels, dtype=np.int64), np.frombuffer(group_codes, dtype=np.int64)
    from sklearn.model_selection import StratifiedGroupKFold

    found = np.zeros(int(own.max()) + 1, dtype=np.int64)
    # It refuses more folds than the largest class has images; copies of all images divide groups alike.
    copies = -(-count // np.bincount(y).max())
    y, own = np.tile(y, copies), np.tile(own, copies)
    folder = StratifiedGroupKFold(count, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        # Rare classes are in some folds only.
        warnings.simplefilter("ignore", UserWarning)
        for fold, (_, positions) in enumerate(folder.split(y, y, own)):
            found[own[positions]] = fold
    return found


def _by_program(table: Ints, shares: NDArray[np.float64]) -> Ints | None:
    """The split of each group (G,), from an integer program; None if there is none.

    Binary x[g, s] puts group g into split s. Each group is in one split, each class in every split, and the distances
    of the splits' sizes from their shares add up to as little as can be.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import eye_array, hstack, kron

    groups, splits, classes = len(table), len(shares), table.shape[1]
    every, sizes = eye_array(splits), table.sum(axis=1)[None, :] / table.sum()
    no_distance = np.zeros((groups, splits)), np.zeros((classes * splits, splits))
    placed = hstack([kron(eye_array(groups), np.ones((1, splits))), no_distance[0]])
    covered = hstack([kron((table > 0).T.astype(float), every), no_distance[1]])
    limits: Any = shares
    found: Any = milp(
        np.concatenate([np.zeros(groups * splits), np.ones(splits)]),
        integrality=np.concatenate([np.ones(groups * splits), np.zeros(splits)]),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(placed, 1, 1),
            LinearConstraint(covered, 1, np.inf),
            LinearConstraint(hstack([kron(sizes, every), every]), limits, np.inf),
            LinearConstraint(hstack([kron(sizes, every), -every]), -np.inf, limits),
        ],
        options={"mip_rel_gap": 0.01, "node_limit": _NODES if splits <= 3 else _NODES_OF_MANY},
    )
    return None if found.x is None else found.x[: groups * splits].reshape(groups, splits).argmax(axis=1)
