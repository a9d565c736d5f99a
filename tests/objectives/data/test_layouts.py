"""Folders as people have them: splits of many names, doubled folders, what looks like splits and is not understood."""

from __future__ import annotations

from pathlib import Path

import pytest

from frostline.objectives.data.layouts import split_named

from .test_dataset_sources import class_folders, faults_of, fill, listed


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *((name, "train") for name in ("train", "Training", "TRAIN", "training_set", "trainset", "trainval")),
        *((name, "train") for name in ("seg_train", "train-images", "Images_Train", "train2017", "TrainingSet")),
        *((name, "val") for name in ("val", "valid", "Validation", "val_set", "validation-data", "devset", "val2017")),
        *((name, "test") for name in ("test", "Testing", "test_set", "testset", "seg_test", "test images")),
        *((name, None) for name in ("trains", "test1", "training_wheels", "data", "images", "cat", "2017", "eval")),
    ],
)  # fmt: skip
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_named(name) == split


@pytest.mark.parametrize(
    "names", [("training_set", "test_set"), ("Train", "Dev", "Testing"), ("seg_train/seg_train", "seg_test/seg_test")]
)
def test_splits_by_other_names_are_splits(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        class_folders(tmp_path / "pets" / name)
    listing = listed(tmp_path / "pets", tmp_path)
    assert listing.classes == ("cat", "dog")
    assert {(item.name.rsplit("/", 2)[0], item.split) for item in listing.items} == {
        (name, split_named(name.split("/")[0])) for name in names
    }


@pytest.mark.parametrize("inside", ["pets", "PETS", "images", "data", "pets/images"])
def test_a_folder_that_doubles_the_one_above_it_is_entered(tmp_path: Path, inside: str) -> None:
    class_folders(tmp_path / "pets" / inside)
    listing = listed(tmp_path / "pets", tmp_path)
    assert (listing.name, listing.classes, len(listing.items)) == ("pets", ("cat", "dog"), 6)
    assert listing.notes == (f"the classes are the folders of {tmp_path / 'pets' / inside}",)


def test_splits_in_a_folder_of_any_name_are_found(tmp_path: Path) -> None:
    for split in ("train", "test"):
        class_folders(tmp_path / "download/pets_v2" / split)
    assert {item.split for item in listed(tmp_path / "download", tmp_path).items} == {"train", "test"}


def test_one_folder_of_another_name_is_not_entered_but_named(tmp_path: Path) -> None:
    class_folders(tmp_path / "pets/cat", ("2019", "2020"))
    assert faults_of(tmp_path / "pets", tmp_path) == [
        f"{tmp_path / 'pets'} has only the folder cat/, with 2 folders in it. "
        f"If those are the classes, name it: {tmp_path / 'pets/cat'}"
    ]


def test_folders_that_hold_the_same_folders_are_refused(tmp_path: Path) -> None:
    for name in ("part_a", "part_b", "part_c"):
        class_folders(tmp_path / "pets" / name)
    class_folders(tmp_path / "pets/part_c", ("eel",))
    (fault,) = faults_of(tmp_path / "pets", tmp_path)
    assert "The folders part_a/, part_b/, part_c/" in fault
    assert "same names (cat/, dog/), as splits do. If they are splits, rename them to train/, val/ and test/." in fault


def test_splits_below_the_classes_are_refused(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        class_folders(tmp_path / "pets" / name, ("train", "test"))
    (fault,) = faults_of(tmp_path / "pets", tmp_path)
    assert "Each of the folders cat/, dog/" in fault
    assert fault.endswith("Put the splits above the classes: train/CLASS, val/CLASS, test/CLASS.")


def test_classes_with_folders_of_their_own_are_classes(tmp_path: Path) -> None:
    fill(tmp_path / "pets", *(f"cat/{year}/{number}.jpg" for year in (2019, 2020) for number in range(2)))
    fill(tmp_path / "pets", *(f"dog/{year}/{number}.jpg" for year in (2020, 2021) for number in range(2)))
    assert listed(tmp_path / "pets", tmp_path).classes == ("cat", "dog")


def test_a_split_that_is_not_understood_is_refused(tmp_path: Path) -> None:
    for name in ("train", "test", "holdout"):
        class_folders(tmp_path / "pets" / name)
    (fault,) = faults_of(tmp_path / "pets", tmp_path)
    assert "has holdout/ beside split folders. Keep either class folders or train/ val/ test/." in fault
