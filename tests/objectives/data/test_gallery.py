"""The images found again against the sealed split and the files themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frostline.objectives.data.dataset import ImageDataset, prepare_dataset
from frostline.objectives.data.gallery import find_gallery
from frostline.objectives.preprocessing import Preprocessing

from .. import tiny

SMALL = Preprocessing(16, 18, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
LARGER = Preprocessing(24, 24, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
SEED = 3


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """12 images of each of two classes, no two alike, and a file that is none."""
    folder = tiny.write_pets(tmp_path / "pets")
    (folder / "cat" / "05b.png").write_text("no image")
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def dataset(pets: Path, cache: Path) -> ImageDataset:
    return prepare_dataset(str(pets), SMALL, cache_dir=cache, seed=SEED)


def test_test_images_are_those_that_finals_are_tested_on(dataset: ImageDataset, cache: Path) -> None:
    gallery, test = find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED), dataset.open_test()
    assert gallery is not None
    assert gallery.holds(test.labels)
    assert not gallery.holds(1 - test.labels)
    shown = gallery.canvas[gallery.test]
    assert np.array_equal(shown, test.images(slice(None)).permute(0, 2, 3, 1).numpy())


def test_names_and_sizes_are_those_of_the_files(dataset: ImageDataset, cache: Path, pets: Path) -> None:
    gallery = find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED)
    assert gallery is not None
    assert gallery.pixels is not None
    assert "cat/05b.png" not in gallery.names
    for name, label, size in zip(gallery.names, gallery.labels, gallery.pixels, strict=True):
        with Image.open(pets / name) as image:
            assert tuple(size) == image.size
        assert dataset.classes[label] == Path(name).parent.name


def test_the_dataset_itself_may_be_gone(dataset: ImageDataset, cache: Path, pets: Path) -> None:
    pets.rename(pets.with_name("moved"))
    assert find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED) is not None


def test_any_geometry_will_do(dataset: ImageDataset, cache: Path, pets: Path) -> None:
    prepare_dataset(str(pets), LARGER, cache_dir=cache, seed=SEED)
    for images in cache.glob("*/images.npy"):
        if np.load(images, mmap_mode="r").shape[1] == SMALL.resize_size:
            images.unlink()
    gallery = find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED)
    assert gallery is not None
    assert gallery.canvas.shape[1:] == (24, 24, 3)
    assert gallery.holds(dataset.open_test().labels)


def test_what_is_not_there_is_none(dataset: ImageDataset, cache: Path) -> None:
    assert find_gallery("another", cache_dir=cache, seed=SEED) is None
    assert find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED + 1) is None
    assert find_gallery(dataset.fingerprint, cache_dir=cache / "none", seed=SEED) is None
    for images in cache.glob("*/images.npy"):
        images.write_bytes(b"torn")
    assert find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED) is None


def test_sizes_are_unknown_in_caches_from_before_they_were_kept(dataset: ImageDataset, cache: Path) -> None:
    (manifest,) = cache.glob("*/manifest.json")
    manifest.write_text(manifest.read_text().replace('"pixels"', '"other"'))
    gallery = find_gallery(dataset.fingerprint, cache_dir=cache, seed=SEED)
    assert gallery is not None
    assert gallery.pixels is None
