"""Folds: each image outside the test split is in one, whole groups, every class in each; what cannot be says which."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.objectives.data.dataset import ImageDataset, decode_dataset
from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.folds import divide_folds, fold_faults
from frostline.objectives.data.listing_options import ListingOptions
from frostline.objectives.data.splits import resolve_splits
from frostline.objectives.errors import InvalidInputError

from .. import tiny

seeds = st.integers(0, 2**31 - 1)
NAMES = [f"class {number}" for number in range(6)]


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(3, 40), min_size=2, max_size=6), st.integers(2, 9), seeds)
def test_each_image_outside_the_test_split_is_in_one_fold_and_classes_are_even(
    sizes: list[int], count: int, seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    splits = resolve_splits([None] * len(labels), labels, seed)
    outside = np.sort(np.concatenate([splits["train"], splits["val"]]))
    least = min(np.bincount(labels[outside]))
    names = NAMES[: len(sizes)]
    if least < count:
        with pytest.raises(InvalidInputError, match=rf"--folds {count}: class '.*' has {least} image"):
            divide_folds(names, labels, splits, count, seed)
        return
    folds = divide_folds(names, labels, splits, count, seed)
    assert len(folds) == count
    assert np.array_equal(np.sort(np.concatenate(folds)), outside)
    per_class = np.array([np.bincount(labels[fold], minlength=len(sizes)) for fold in folds])
    assert per_class.min() >= 1
    assert (np.ptp(per_class, axis=0) <= 1).all()
    # Neither many small classes nor their order makes a fold larger than another.
    assert np.ptp(per_class.sum(axis=1)) <= 1
    again = divide_folds(names, labels, splits, count, seed)
    assert all(np.array_equal(one, other) for one, other in zip(folds, again, strict=True))


@settings(deadline=None, max_examples=10)
@given(st.integers(2, 4), st.integers(2, 9), st.integers(6, 40), seeds)
def test_no_group_is_in_two_folds(classes: int, count: int, groups: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, groups)
    of_group = np.repeat(np.arange(groups), sizes)
    labels = np.where(rng.random(len(of_group)) < 0.5, of_group % classes, rng.integers(0, classes, len(of_group)))
    labels[:classes] = np.arange(classes)
    pool = np.arange(len(labels))
    splits = {"train": pool, "val": pool[:0], "test": pool[:0]}
    names, given_groups = NAMES[:classes], [f"g{group}" for group in of_group]
    if fold_faults(names, labels, splits, count, given_groups):
        with pytest.raises(InvalidInputError, match=f"--folds {count}"):
            divide_folds(names, labels, splits, count, seed, given_groups)
        return
    folds = divide_folds(names, labels, splits, count, seed, given_groups)
    assert np.array_equal(np.sort(np.concatenate(folds)), pool)
    homes = [set(of_group[fold].tolist()) for fold in folds]
    assert sum(map(len, homes)) == groups
    assert all(set(labels[fold].tolist()) == set(range(classes)) for fold in folds)


def test_the_smallest_class_limits_the_folds_and_is_named() -> None:
    labels = [0] * 20 + [1] * 6
    splits = resolve_splits([None] * 26, labels, 0)
    left = int((np.array(labels)[np.concatenate([splits["train"], splits["val"]])] == 1).sum())
    assert fold_faults(["cat", "dog"], labels, splits, left) == []
    (fault,) = fold_faults(["cat", "dog"], labels, splits, left + 1)
    assert fault == (
        f"--folds {left + 1}: class 'dog' has {left} images outside the test split, and each fold needs one. "
        f"Give --folds {left} or fewer, or add images."
    )


def test_groups_that_make_it_impossible_are_named() -> None:
    labels, groups = [0] * 12 + [1] * 12, [*"aabbccddeeff", *"xxxxyyyyzzzz"]
    every = np.arange(24)
    splits = {"train": every, "val": every[:0], "test": every[:0]}
    (fault,) = fold_faults(["cat", "dog"], labels, splits, 5, groups)
    assert fault.startswith("--folds 5: Class 'dog' has images of 3 groups ('x', 'y', 'z') but needs at least 5")
    assert fault.endswith("Give --folds 3 or fewer.")


def test_classes_that_share_their_few_groups_are_named() -> None:
    """Each is in three groups, but three folds need no two groups to hold all three."""
    rows = [("a", 0), ("b", 0), ("c", 0), ("b", 1), ("c", 1), ("d", 1), ("a", 2), ("d", 2), ("e", 2)]
    splits = {"train": np.arange(9), "val": np.arange(0), "test": np.arange(0)}
    (fault,) = fold_faults(["cat", "dog", "eel"], [label for _, label in rows], splits, 3, [name for name, _ in rows])
    assert fault.startswith("--folds 3: No division of the 5 groups puts every class into each of 3")
    assert "Without 'cat'" in fault
    # A first fold of b and d, a second one of a and c.
    assert fault.endswith("Give --folds 2.")


def dataset(folder: Path, folds: int | None) -> ImageDataset:
    listing = list_source(str(folder), ListingOptions(), download_dir=folder.parent / "downloads")
    return decode_dataset(listing, tiny.PREPROCESSING, cache_dir=folder.parent / "cache", seed=0, folds=folds)


def test_a_dataset_with_folds_has_the_same_test_split_and_each_other_image_validates_once(tmp_path: Path) -> None:
    photos = tiny.write_pets(tmp_path / "photos")
    without, divided = dataset(photos, None), dataset(photos, 3)
    assert without.folds() == ()
    assert divided.open_test().indices.tolist() == without.open_test().indices.tolist()
    rows = np.sort(np.concatenate([split.indices for split in without.search_splits()]))
    folds = divided.folds()
    assert sorted(np.concatenate([val.indices for _, val in folds]).tolist()) == rows.tolist()
    for train, val in folds:
        assert sorted([*train.indices, *val.indices]) == rows.tolist()
        assert train.whole.fingerprint == val.whole.fingerprint
        assert np.array_equal(train.labels, train.whole.labels[train.positions])
    fingerprints = {split.fingerprint for fold in folds for split in fold}
    assert len(fingerprints) == 6
    assert divided.split_fingerprint != without.split_fingerprint
    assert divided.fold_sizes == tuple(len(val) for _, val in folds)
    first = divided.search_splits()
    assert [split.fingerprint for split in first] == [split.fingerprint for split in folds[0]]
    assert {name: sum(of.values()) for name, of in divided.counts.items()} == {
        "train": len(first[0]),
        "val": len(first[1]),
        "test": len(without.open_test()),
    }
    assert "3 folds of" in divided.notes[-1]
    # Kept, so that another version of scikit-learn cannot change them.
    assert len(list((tmp_path / "cache").glob("*/folds-0-3.json"))) == 1


def test_given_validation_images_join_the_folds_and_that_is_said(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        tiny.write_pets(tmp_path / "photos" / split)
    divided = dataset(tmp_path / "photos", 4)
    assert len(divided.open_test()) == 24
    assert sum(divided.fold_sizes) == 48
    assert any("the given validation images among them" in note for note in divided.notes)
