import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.objectives.data.splits import resolve_splits, split_faults, stratified_split
from frostline.objectives.errors import InvalidInputError

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}

class_sizes = st.lists(st.integers(3, 60), min_size=2, max_size=6)
seeds = st.integers(0, 2**32 - 1)


def shuffled_labels(sizes: list[int], seed: int) -> np.ndarray:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return np.random.default_rng(seed).permutation(labels)


@settings(deadline=None)
@given(class_sizes, seeds)
def test_every_image_is_in_exactly_one_split(sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    splits = stratified_split(labels, SHARES, seed)
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(len(labels)))
    for positions in splits.values():
        assert positions.dtype == np.int64
        assert (np.diff(positions) > 0).all()


@settings(deadline=None)
@given(class_sizes, seeds)
def test_each_class_keeps_its_share_to_less_than_one_image(sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    splits = stratified_split(labels, SHARES, seed)
    for label, size in enumerate(sizes):
        counts = {name: int((labels[positions] == label).sum()) for name, positions in splits.items()}
        assert min(counts.values()) >= 1
        # With fewer than 7 images the floor of one image per split takes more than its share.
        if size >= 7:
            assert all(abs(counts[name] - share * size) < 1 for name, share in SHARES.items())


@settings(deadline=None)
@given(
    st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    st.lists(st.integers(5, 40), min_size=1, max_size=4),
    seeds,
)
def test_any_shares_give_a_partition_without_empty_splits(weights: list[float], sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    fractions = {str(number): weight / sum(weights) for number, weight in enumerate(weights)}
    splits = stratified_split(labels, fractions, seed)
    assert sum(map(len, splits.values())) == len(labels)
    assert all(set(labels[positions]) == set(range(len(sizes))) for positions in splits.values())


@settings(deadline=None)
@given(class_sizes, seeds)
def test_the_order_of_the_shares_does_not_matter_and_the_seed_decides(sizes: list[int], seed: int) -> None:
    labels = shuffled_labels(sizes, seed)
    one = stratified_split(labels, SHARES, seed)
    other = stratified_split(labels, dict(reversed(SHARES.items())), seed)
    assert all(np.array_equal(one[name], other[name]) for name in SHARES)


def test_another_seed_gives_another_split() -> None:
    labels = np.repeat([0, 1], 50)
    assert not np.array_equal(stratified_split(labels, SHARES, 0)["test"], stratified_split(labels, SHARES, 1)["test"])


def test_an_additional_class_leaves_the_splits_of_the_others_alone() -> None:
    few, more = np.repeat([0, 1], 20), np.repeat([0, 1, 2], 20)
    one, other = stratified_split(few, SHARES, 3), stratified_split(more, SHARES, 3)
    assert all(np.array_equal(one[name], other[name][other[name] < 40]) for name in SHARES)


def test_a_split_is_the_one_it_always_was() -> None:
    assert stratified_split([0, 1] * 5, SHARES, 0)["test"].tolist() == [3, 4]


def test_a_class_smaller_than_the_number_of_splits_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Class 1 has 2 images"):
        stratified_split([0, 0, 0, 1, 1], SHARES, 0)


def sizes_of(splits: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: len(positions) for name, positions in splits.items()}


def test_without_given_splits_70_15_15() -> None:
    assert sizes_of(resolve_splits([None] * 200, [0, 1] * 100, 0)) == {"train": 140, "val": 30, "test": 30}


def test_a_lone_train_folder_is_divided_as_well() -> None:
    assert sizes_of(resolve_splits(["train"] * 200, [0, 1] * 100, 0)) == {"train": 140, "val": 30, "test": 30}


@pytest.mark.parametrize(("present", "carved"), [("test", "val"), ("val", "test")])
def test_a_missing_split_is_carved_from_train_and_the_given_one_stays(present: str, carved: str) -> None:
    origin = ["train"] * 200 + [present] * 20
    splits = resolve_splits(origin, [0, 1] * 110, 0)
    assert splits[present].tolist() == list(range(200, 220))
    assert sizes_of(splits) == {"train": 170, carved: 30, present: 20}
    assert set(splits["train"]) | set(splits[carved]) == set(range(200))


def test_three_given_splits_stay_whatever_the_seed() -> None:
    origin = ["test", "train", "val", "train", "test", "val"]
    for seed in range(3):
        splits = resolve_splits(origin, [0, 0, 0, 1, 1, 1], seed)
        assert {name: positions.tolist() for name, positions in splits.items()} == {
            "train": [1, 3],
            "val": [2, 5],
            "test": [0, 4],
        }


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["train", "val", "test"]), st.integers(0, 2)), min_size=1, max_size=40),
    st.booleans(),
    seeds,
)
def test_no_fault_means_that_it_can_be_split(images: list[tuple[str, int]], has_splits: bool, seed: int) -> None:
    origin = [split if has_splits else None for split, _ in images]
    labels = [label for _, label in images]
    if "train" in origin or not has_splits:
        faults = split_faults("abc", origin, labels)
        if not faults:
            splits = resolve_splits(origin, labels, seed)
            assert all(set(np.asarray(labels)[positions]) == {0, 1, 2} for positions in splits.values())
        elif set(labels) == {0, 1, 2} and len(set(origin)) == 1:
            with pytest.raises(InvalidInputError):
                resolve_splits(origin, labels, seed)


def test_faults_name_every_class_and_split_at_once() -> None:
    origin = ["train", "train", "train", "test"]
    faults = split_faults(["cat", "dog"], origin, [0, 0, 1, 0])
    assert len(faults) == 2
    assert "Class 'dog' has 1 usable image in train but needs at least 2 (one each for train, val)" in faults[0]
    assert "Class 'dog' has 0 usable images in test but needs at least 1" in faults[1]
