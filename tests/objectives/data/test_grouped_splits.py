"""Groups stay whole: over random tables, against every way to divide their groups."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from frostline.objectives.data.grouped_splits import group_faults, grouped_split
from frostline.objectives.data.splits import resolve_splits, split_faults
from frostline.objectives.errors import InvalidInputError

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def random_table(rng: np.random.Generator) -> tuple[np.ndarray, list[str], int]:
    """Labels and groups of a few images, some of whose classes are in few groups."""
    groups, classes = int(rng.integers(2, 8)), int(rng.integers(2, 5))
    count = int(rng.integers(3 * classes, 40))
    own = rng.integers(0, groups, count)
    labels = np.where(rng.random(count) < rng.random(), own % classes, rng.integers(0, classes, count))
    labels[:classes] = np.arange(classes)
    return labels, [f"g{group}" for group in own], classes


def is_possible(labels: np.ndarray, groups: list[str], splits: int) -> bool:
    """Whether any division of the groups has every class in every split: all are tried."""
    names, codes = np.unique(groups, return_inverse=True)
    holds = np.zeros((len(names), labels.max() + 1), dtype=bool)
    holds[codes, labels] = True
    divisions = np.array(list(itertools.product(range(splits), repeat=len(names))))
    covered = [((divisions == split)[:, :, None] & holds).any(axis=1).all(axis=1) for split in range(splits)]
    return bool(np.logical_and.reduce(covered).any())


@pytest.mark.parametrize("tables", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_no_group_straddles_and_only_the_impossible_is_refused(tables: int) -> None:
    rng, refused = np.random.default_rng(0), 0
    for _ in range(tables):
        labels, groups, classes = random_table(rng)
        given = ["train"] * len(labels) if rng.random() < 0.5 else [None] * len(labels)
        names = [f"c{label}" for label in range(classes)]
        if few := split_faults(names, given, labels):
            assert split_faults(names, given, labels, groups) == few
            continue
        faults = split_faults(names, given, labels, groups)
        assert bool(faults) != is_possible(labels, groups, 3)
        if faults:
            refused += 1
            with pytest.raises(InvalidInputError):
                resolve_splits(given, labels, 0, groups)
            continue
        parts = resolve_splits(given, labels, int(rng.integers(0, 2**31)), groups)
        assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(len(labels)))
        assert all(set(labels[rows]) == set(range(classes)) for rows in parts.values())
        homes = [{groups[row] for row in rows} for rows in parts.values()]
        assert sum(map(len, homes)) == len(set(groups))
    assert 0.2 < refused / tables < 0.8


@pytest.mark.parametrize(
    ("images", "groups", "classes", "pure"),
    # In the last one, no choice of whole folds has every class in every split.
    [(600, 30, 5, False), (600, 30, 5, True), (2000, 150, 5, True), (1600, 200, 25, True)],
)
def test_shares_are_as_near_as_the_largest_group_allows(images: int, groups: int, classes: int, pure: bool) -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        own = rng.integers(0, groups, images)
        labels = own % classes if pure else rng.integers(0, classes, images)
        table = np.zeros((groups, classes))
        np.add.at(table, (own, labels), 1)
        largest = (table / table.sum(axis=0)).max(axis=0)
        parts = grouped_split(labels, [f"{group}" for group in own], SHARES, seed)
        for name, rows in parts.items():
            shares = np.bincount(labels[rows], minlength=classes) / table.sum(axis=0)
            assert (np.abs(shares - SHARES[name]) < largest + 0.015).all()


def test_the_seed_decides_and_nothing_else() -> None:
    labels = np.arange(200) % 4
    groups = [f"{row // 5}" for row in range(200)]
    one, same, other = (grouped_split(labels, groups, SHARES, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in SHARES)
    assert not np.array_equal(one["test"], other["test"])


def test_given_splits_stay_and_the_carved_one_keeps_groups_whole() -> None:
    given = ["test"] * 40 + ["train"] * 160
    labels = np.arange(200) % 2
    groups = [f"{row // 8}" for row in range(200)]
    parts = resolve_splits(given, labels, 0, groups)
    assert parts["test"].tolist() == list(range(40))
    homes = [{groups[row] for row in parts[name]} for name in ("train", "val")]
    assert not homes[0] & homes[1]
    assert len(parts["val"]) == pytest.approx(0.15 * 160, abs=8)


def test_a_class_of_too_few_groups_is_named_with_them() -> None:
    labels = np.array([0] * 9 + [1] * 4)
    groups = [*"abcdefghi", "a", "a", "z", "z"]
    assert group_faults(("cat", "eel"), labels, groups, 3, "train, val, test") == [
        "Class 'eel' has images of 2 groups ('a', 'z') but needs at least 3, because no group may be in two of train, "
        "val, test. Add images of other groups, remove the class, or leave the groups out."
    ]


def test_classes_that_block_each_other_are_named() -> None:
    """Cat is in a, b, c; dog in b, c, d; eel in a, d, e: each in three groups, but no two groups hold all."""
    rows = [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("c", 1), ("d", 1), ("a", 2), ("d", 2), ("e", 2)]
    groups, labels = [group for group, _ in rows], np.array([label for _, label in rows])
    assert not is_possible(labels, groups, 3)
    (fault,) = group_faults(("cat", "dog", "eel"), labels, groups, 3, "train, val, test")
    assert "No division of the 5 groups puts every class into each of 3 splits" in fault
    without = [name for name in range(3) if is_possible(*_without(labels, groups, name), 3)]
    assert all(repr(("cat", "dog", "eel")[name]) in fault for name in without)
    assert without


def _without(labels: np.ndarray, groups: list[str], label: int) -> tuple[np.ndarray, list[str]]:
    kept = np.flatnonzero(labels != label)
    return np.unique(labels[kept], return_inverse=True)[1], [groups[row] for row in kept]
