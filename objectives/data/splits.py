"""Splits into training, validation and test images: stratified by class, fixed by a seed, groups kept whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..errors import InvalidInputError
from .grouped_splits import group_faults, grouped_split

SPLITS = ("train", "val", "test")

# Share of the training images that each missing split gets; train keeps the rest.
CARVED_SHARE = 0.15


def stratified_split(
    labels: Sequence[int] | np.ndarray, fractions: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """Divide images so that each class has the same share in every split.

    Within a class the counts follow the fractions to less than one image, except that every split gets at least one
    image of every class.

    Args:
        labels: Class of each image, int (N,).
        fractions: Share of each split, by name; the shares add up to 1. Their order does not matter.
        seed: Seed, not negative. Each class draws from its own stream, so another class leaves the splits of this one
            unchanged.

    Returns:
        Positions in ``labels`` by split, ascending int64; together they are 0 ... N-1, each once.

    Raises:
        InvalidInputError: A class has fewer images than there are splits.

    Example:
        >>> from frostline.objectives.data.splits import stratified_split
        >>> parts = stratified_split([0, 0, 0, 0, 1, 1, 1, 1], {"train": 0.75, "val": 0.25}, seed=0)
        >>> {name: len(positions) for name, positions in parts.items()}
        {'train': 6, 'val': 2}
    """
    labels, names = np.asarray(labels), sorted(fractions)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for label in np.unique(labels):
        members = np.random.default_rng([seed, int(label)]).permutation(np.flatnonzero(labels == label))
        counts = _counts_per_split(len(members), np.array([fractions[name] for name in names]), int(label))
        for name, part in zip(names, np.split(members, np.cumsum(counts)[:-1]), strict=True):
            parts[name].append(part)
    return {name: _sorted_union(parts[name]) for name in fractions}


def resolve_splits(
    given: Sequence[str | None],
    labels: Sequence[int] | np.ndarray,
    seed: int,
    groups: Sequence[str] | None = None,
) -> dict[str, np.ndarray]:
    """The three splits of a dataset; splits that it comes with are kept.

    A dataset without splits is divided 70/15/15; a missing ``val`` or ``test`` is carved out of ``train``, 15 % each.

    Args:
        given: Split of each image, ``None`` where the dataset has none.
        labels: Class of each image, int (N,).
        seed: Seed of the splits that are not given, not negative.
        groups: Group of each image; none is in two of the splits that are made. Given splits are kept as they are.

    Returns:
        Positions by ``train``, ``val`` and ``test``, ascending int64.

    Raises:
        InvalidInputError: A class has too few images; see :func:`split_faults`.

    Example:
        >>> from frostline.objectives.data import resolve_splits
        >>> parts = resolve_splits([None] * 40, [0] * 20 + [1] * 20, seed=0)
        >>> {name: len(positions) for name, positions in parts.items()}
        {'train': 28, 'val': 6, 'test': 6}
    """
    origin, labels = _origins(given), np.asarray(labels)
    fixed = {name: np.flatnonzero(origin == name) for name in SPLITS[1:] if name in origin}
    carved = [name for name in SPLITS[1:] if name not in fixed]
    pool = np.flatnonzero(origin == "train")
    fractions = {"train": 1 - CARVED_SHARE * len(carved)} | dict.fromkeys(carved, CARVED_SHARE)
    if groups is None or not carved:
        divided = stratified_split(labels[pool], fractions, seed)
    else:
        divided = grouped_split(labels[pool], [groups[row] for row in pool.tolist()], fractions, seed)
    found = fixed | {name: pool[positions] for name, positions in divided.items()}
    return {name: found[name] for name in SPLITS}


def split_faults(
    classes: Sequence[str],
    given: Sequence[str | None],
    labels: Sequence[int] | np.ndarray,
    groups: Sequence[str] | None = None,
) -> list[str]:
    """Reasons why :func:`resolve_splits` would fail: one message per class and split with too few images or groups."""
    origin, labels = _origins(given), np.asarray(labels, dtype=np.int64)
    carved = [name for name in SPLITS[1:] if name not in origin]
    faults = []
    for split in [name for name in SPLITS if name not in carved]:
        uses = ["train", *carved] if split == "train" else [split]
        where = f" in {split}" if any(given) else ""
        counts = np.bincount(labels[origin == split], minlength=len(classes)).tolist()
        faults += [
            f"Class {name!r} has {count} usable image{'s' * (count != 1)}{where} but needs at least {len(uses)} "
            f"(one each for {', '.join(uses)}). Add images or remove the class."
            for name, count in zip(classes, counts, strict=True)
            if count < len(uses)
        ]
    if groups is None or faults or not carved:
        return faults
    pool = np.flatnonzero(origin == "train")
    made = ["train", *carved]
    return group_faults(classes, labels[pool], [groups[row] for row in pool.tolist()], len(made), ", ".join(made))


def _origins(given: Sequence[str | None]) -> np.ndarray:
    """The split of each image; images without one count as those of ``train``."""
    return np.array([split or "train" for split in given], dtype="U5")


def _counts_per_split(total: int, fractions: np.ndarray, label: int) -> np.ndarray:
    """Counts that add up to ``total``: largest remainders, at least one each."""
    if total < len(fractions):
        raise InvalidInputError(f"Class {label} has {total} images, too few for {len(fractions)} splits: add images.")
    ideal = total * fractions
    counts = np.maximum(1, np.floor(ideal + 1e-9).astype(np.int64))
    while (missing := total - counts.sum()) != 0:
        # Never below one: only a split raised to its floor makes the sum too large, and the others then give way.
        gap = np.where(counts > 1, counts - ideal, -np.inf) if missing < 0 else ideal - counts
        counts[np.argmax(gap)] += np.sign(missing)
    return counts


def _sorted_union(parts: list[np.ndarray]) -> np.ndarray:
    return np.sort(np.concatenate(parts)).astype(np.int64) if parts else np.empty(0, dtype=np.int64)
