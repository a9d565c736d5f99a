"""Nearness against scikit-learn, with networks that know the classes and networks that do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from frostline.objectives.config import BackboneSpec
from frostline.objectives.data import ImageDataset, Nearness, prepare_dataset
from frostline.objectives.fault_finder import examine, pooled_features
from frostline.objectives.nearness_probe import finish_nearness, pretrained_nearness
from frostline.objectives.networks import BackbonePool

from .data.photos import photos
from .tiny import PREPROCESSING

CPU = torch.device("cpu")


def dataset_of(folder: Path) -> ImageDataset:
    return prepare_dataset(str(folder), PREPROCESSING, cache_dir=folder.parent / "cache", seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, pictures = tmp_path_factory.mktemp("nearness") / "data", iter(photos(60))
    for split, count in (("train", 16), ("val", 6), ("test", 8)):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                next(pictures).save(folder / split / name / f"{number:02d}.png")
    return folder


def nearness(dataset: ImageDataset, pool: BackbonePool, seed: int = 0) -> Nearness:
    """Both halves."""
    begun = pretrained_nearness(examine(dataset, pool, CPU))
    return finish_nearness(begun, dataset, pool, CPU, seed=seed)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> BackbonePool:
    weights = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = BackbonePool(BackboneSpec("tiny_network:create_many_units", "none", 32)).pretrained.model
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, weights)
    return BackbonePool(BackboneSpec("tiny_network:create_many_units", str(weights), 32))


def test_it_is_scikit_learns_probe_on_training_and_validation_images(folder: Path, pool: BackbonePool) -> None:
    dataset = dataset_of(folder)
    found = nearness(dataset, pool, seed=3)
    images = dataset.audited()
    rows = [image.row for image in images.found if image.split != "test"]
    assert len(rows) == 44
    labels = images.whole.labels[rows]
    for pretrained, own in ((True, found.pretrained), (False, found.random)):
        features = pooled_features([images.whole], pool, CPU, pretrained=pretrained, seed=3)[0][rows]
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=200, tol=1e-3))
        folds = StratifiedKFold(5, shuffle=True, random_state=0)
        predicted = cross_val_predict(probe, features, labels, cv=folds)
        assert own == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert 0 <= found.separation <= 1
    assert found.reason == ""
    # The pool is as before.
    (again,) = pooled_features([images.whole], pool, CPU)
    np.testing.assert_array_equal(again, examine(dataset, pool, CPU).features)


def test_test_images_do_not_matter(folder: Path, tmp_path: Path, pool: BackbonePool) -> None:
    other = tmp_path / "data"
    shutil.copytree(folder, other)
    for file, replaced in zip((folder / "test/cat").iterdir(), (other / "test/dog").iterdir(), strict=True):
        shutil.copy(file, replaced)
    one, two = (nearness(dataset_of(each), pool) for each in (folder, other))
    assert one == two


def test_without_pretrained_weights_nothing_is_measured(folder: Path) -> None:
    pool = BackbonePool(BackboneSpec("tiny_network:create_many_units", "none", 32))
    found = nearness(dataset_of(folder), pool)
    assert found.reason == "the network has no pretrained weights"
