"""Faults planted in a folder of images are found with names, splits and labels; what cannot be sought is said."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from frostline.objectives import fault_finder
from frostline.objectives.config import BackboneSpec, create_config
from frostline.objectives.data import ImageDataset, decode_dataset, list_source, prepare_dataset
from frostline.objectives.fault_finder import examine, find_faults, pooled_features
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import Task, finetune
from frostline.objectives.networks import BackbonePool, state_hash
from frostline.objectives.preprocessing import Preprocessing

from .data.photos import encoded, photos

PREPROCESSING = Preprocessing(32, 36, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes, 20 images each to train, 8 to validate and to test; and copies of some."""
    folder, pictures = tmp_path_factory.mktemp("data"), iter(photos(72))
    for split, count in (("train", 20), ("val", 8), ("test", 8)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                next(pictures).save(folder / split / name / f"{number:02d}.png")
    shutil.copy(folder / "test/cat/00.png", folder / "train/cat/leaked.png")
    encode(folder / "test/dog/01.png", folder / "val/dog/encoded.jpg")
    shutil.copy(folder / "train/dog/03.png", folder / "train/cat/two_labels.png")
    return folder


def encode(original: Path, copy: Path) -> None:
    encoded(Image.open(original), 60).save(copy, quality=90)


@pytest.fixture(scope="module")
def dataset(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageDataset:
    return prepare_dataset(str(folder), PREPROCESSING, cache_dir=tmp_path_factory.mktemp("cache"), seed=0)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> BackbonePool:
    """Weights of a file; that they are random matters to no copy."""
    weights = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    random = BackbonePool(BackboneSpec("tiny_network:create_many_units", "none", 32)).pretrained.model
    save_file({name: value.contiguous() for name, value in random.state_dict().items()}, weights)
    return BackbonePool(BackboneSpec("tiny_network:create_many_units", str(weights), 32))


@pytest.mark.parametrize("weights", ["none", "file"])
def test_planted_copies_are_found(dataset: ImageDataset, pretrained: BackbonePool, weights: str) -> None:
    pool = pretrained if weights == "file" else BackbonePool(BackboneSpec("tiny_network:create_many_units", "none", 32))
    faults = find_faults(examine(dataset, pool, CPU))
    assert [[image.name for image in group.images] for group in faults.leaks] == [
        ["test/cat/00.png", "train/cat/leaked.png"],
        ["test/dog/01.png", "val/dog/encoded.jpg"],
    ]
    assert [group.exact for group in faults.leaks] == [True, False]
    (two,) = faults.two_labels
    assert {image.name for image in two.images} == {"train/cat/two_labels.png", "train/dog/03.png"}
    assert len(faults.copies) == 3
    assert faults.leaked_test == (0, 9)
    assert faults.test_images == 16
    reason = {"label errors, cropped or mirrored copies": "the network has no pretrained weights"}
    assert faults.not_sought == (reason if weights == "none" else {})


def test_with_folds_the_copies_of_all_folds_are_compared(
    folder: Path, pretrained: BackbonePool, tmp_path: Path
) -> None:
    """Copies of ten training images: those in another fold than their original leak, and those with it do not."""
    shutil.copytree(folder, tmp_path / "data")
    for number in range(10):
        shutil.copy(tmp_path / f"data/train/cat/{number:02d}.png", tmp_path / f"data/train/cat/copy {number:02d}.png")
    listing = list_source(str(tmp_path / "data"), download_dir=tmp_path)
    dataset = decode_dataset(listing, PREPROCESSING, cache_dir=tmp_path / "cache", seed=0, folds=3)
    fold_of = {
        listing.items[row].name: fold
        for fold, (_, validating) in enumerate(dataset.folds(), 1)
        for row in validating.indices.tolist()
    }
    pairs = [(f"train/cat/{number:02d}.png", f"train/cat/copy {number:02d}.png") for number in range(10)]
    pairs.append(("train/dog/03.png", "train/cat/two_labels.png"))
    apart = {frozenset(pair) for pair in pairs if fold_of[pair[0]] != fold_of[pair[1]]}
    assert 0 < len(apart) < len(pairs)
    faults = find_faults(examine(dataset, pretrained, CPU))
    assert {frozenset(image.name for image in group.images) for group in faults.validation_leaks} == apart
    assert faults.leaked_validation == 2 * len(apart)
    # All of them are compared with the test images, whatever their fold.
    assert {image.name for group in faults.leaks for image in group.images} >= {
        "train/cat/leaked.png",
        "val/dog/encoded.jpg",
    }
    assert {image.name: image.fold for image in dataset.audited().found if image.fold} == fold_of


def test_found_images_are_the_rows_of_the_canvases(dataset: ImageDataset) -> None:
    images, test = dataset.audited(), dataset.open_test()
    for found in images.found:
        assert found.label == images.whole.labels[found.row]
        if found.split == "test":
            assert test.indices[found.position] == found.row
    assert [found.row for found in images.found] == list(range(len(images.whole)))
    assert len(images.digests) == len(images.whole) == 75


def test_of_too_many_images_only_exact_copies_are_sought(
    dataset: ImageDataset, pretrained: BackbonePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_finder, "MAX_IMAGES", 60)
    faults = find_faults(examine(dataset, pretrained, CPU))
    assert all(group.exact for group in faults.copies)
    assert len(faults.copies) == 2
    assert faults.not_sought == {"near copies, label errors": "75 images are more than 60"}


def test_a_probe_that_would_take_too_long_is_left_out(
    dataset: ImageDataset, pretrained: BackbonePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fault_finder, "MAX_PROBE", 100)
    faults = find_faults(examine(dataset, pretrained, CPU))
    assert len(faults.copies) == 3
    assert list(faults.not_sought) == ["label errors"]


def test_the_first_trial_finds_the_features_of_the_search_for_faults(
    dataset: ImageDataset, pretrained: BackbonePool
) -> None:
    """No image passes the network twice; and the features are those of one pass over all images, bit for bit."""
    store = FeatureStore(10**9)
    seen = examine(dataset, pretrained, CPU, store)
    (uncached,) = pooled_features([dataset.audited().whole], pretrained, CPU)
    assert seen.features is not None
    np.testing.assert_array_equal(seen.features, uncached)
    assert store.computed == 2
    train, val = dataset.search_splits()
    config = create_config({"strategy": "feature_extraction", "augmentation": "none", "epochs": 1})
    shared = finetune(config, Task(train, val, pretrained, "accuracy", CPU, store), seed=5)
    assert store.computed == 2
    alone = finetune(config, Task(train, val, pretrained, "accuracy", CPU, FeatureStore(0)), seed=5)
    assert shared.epochs[0].train_loss == alone.epochs[0].train_loss


def test_features_are_global_averages_and_the_network_stays_as_it_was(
    dataset: ImageDataset, pretrained: BackbonePool
) -> None:
    before, drawn = state_hash(pretrained.pretrained.model.state_dict()), torch.random.get_rng_state()
    (features,) = pooled_features([dataset.audited().whole], pretrained, CPU)
    assert state_hash(pretrained.pretrained.model.state_dict()) == before
    assert torch.equal(torch.random.get_rng_state(), drawn)
    model: Any = pretrained.pretrained.model.eval()
    images = dataset.audited().whole.images(slice(0, 5))[:, :, 2:34, 2:34].float() / 255
    with torch.no_grad():
        expected = model.blocks(model.stem((images - 0.5) / 0.25)).mean(dim=(2, 3))
    assert np.allclose(features[:5], expected.numpy(), atol=1e-4)
