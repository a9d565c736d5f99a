"""The cache of ``datasets.load_dataset``, written by the library itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest

from frostline.objectives.data.manifest_cache import is_cache

from .stored import embedded, fault_of, listed, offline_datasets, write_classes

HUB = "data/{split}-00000-of-00001.parquet"


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield from offline_datasets(tmp_path_factory.mktemp("elsewhere"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("given") / "photos")


@pytest.fixture(scope="module")
def hub(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As a repository of the Hub, with the images in it."""
    root = tmp_path_factory.mktemp("hub") / "animals"
    found: Any = datasets.load_dataset("imagefolder", data_dir=str(photos))
    for split, part in found.items():
        file = root / HUB.format(split=split)
        file.parent.mkdir(parents=True, exist_ok=True)
        embedded(part.shuffle(seed=1)).to_parquet(str(file))
    return root


@pytest.fixture(scope="module")
def cache(hub: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cache")
    loaded: Any = datasets.load_dataset(str(hub), cache_dir=str(root))
    # What is made of the dataset lies beside its files, and is none of it.
    loaded["train"].filter(lambda row: row["label"] == 0)
    return root


def own_folder(cache: Path) -> Path:
    (info,) = cache.rglob("dataset_info.json")
    return info.parent


def fields(source: Path, downloads: Path) -> list[tuple[Any, ...]]:
    own = listed(source, downloads)
    return [(item.name, own.classes[item.label], item.split, item.read()) for item in own.items]


def test_what_load_dataset_keeps_is_the_dataset_it_loaded(photos: Path, cache: Path, tmp_path: Path) -> None:
    own = own_folder(cache)
    assert {"cache-"} <= {file.name[:6] for file in own.glob("*.arrow")}
    expected = fields(photos, tmp_path)
    assert len(expected) == 26
    # The folder of the hash, the version, the configuration, the name, and the cache itself.
    for folder in (own, *list(own.parents)[:4]):
        assert fields(folder, tmp_path) == expected
        assert listed(folder, tmp_path).name == "animals"
    assert cache in own.parents[3:4]


def test_shards_streams_and_files_are_read(hub: Path, photos: Path, tmp_path: Path) -> None:
    builder: Any = datasets.load_dataset_builder(str(hub), cache_dir=str(tmp_path / "cache"), batch_size=2)
    for kind in ("arrow", "parquet"):
        builder.download_and_prepare(str(tmp_path / kind), file_format=kind, max_shard_size=4000)
        assert len(list((tmp_path / kind).glob(f"animals-train-*-of-*.{kind}"))) > 1
        assert fields(tmp_path / kind, tmp_path) == fields(photos, tmp_path)
    for file in (tmp_path / "arrow").glob("*.arrow"):
        table = pyarrow.ipc.open_stream(file.read_bytes()).read_all()
        with pyarrow.ipc.new_file(str(file), table.schema) as writer:
            writer.write_table(table)
    assert fields(tmp_path / "arrow", tmp_path) == fields(photos, tmp_path)


def test_images_that_the_cache_only_points_to_are_read_below_their_root(photos: Path, tmp_path: Path) -> None:
    datasets.load_dataset("imagefolder", data_dir=str(photos), cache_dir=str(tmp_path / "cache"))
    assert f"is outside {tmp_path}" in (said := fault_of(tmp_path / "cache"))
    assert "--image-root" in said
    own = listed(tmp_path / "cache", tmp_path, image_root=str(photos))
    folder = listed(photos, tmp_path)
    assert (own.items, own.classes) == (folder.items, folder.classes)


def test_one_of_several_datasets_must_be_named(cache: Path, hub: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    datasets.load_dataset("parquet", data_files=str(hub / HUB.format(split="test")), cache_dir=str(tmp_path / "cache"))
    said = fault_of(tmp_path / "cache")
    assert "holds 2 datasets of load_dataset. Name the folder of one:" in said
    assert all(str(file.parent) in said for file in (tmp_path / "cache").rglob("dataset_info.json"))


def test_files_that_are_missing_or_damaged_are_named(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(cache, tmp_path / "cache")
    file = own_folder(tmp_path / "cache") / "animals-train.arrow"
    file.write_bytes(file.read_bytes()[:100])
    assert "animals-train.arrow is not an Arrow file" in fault_of(tmp_path / "cache")
    file.unlink()
    assert "Cannot read cache" in (said := fault_of(tmp_path / "cache"))
    assert "animals-train.arrow" in said
    info_file = file.with_name("dataset_info.json")
    info = json.loads(info_file.read_text())
    info_file.write_text(json.dumps(info | {"splits": {}}))
    assert "download_mode" in fault_of(tmp_path / "cache")


def test_a_description_reads_no_file_of_another_folder(cache: Path, tmp_path: Path) -> None:
    shutil.copytree(own_folder(cache), tmp_path / "own/cache")
    shutil.copy(own_folder(cache) / "animals-train.arrow", tmp_path / "own/secret-train.arrow")
    info_file = tmp_path / "own/cache/dataset_info.json"
    info = json.loads(info_file.read_text())
    info_file.write_text(json.dumps(info | {"splits": {"train": {"dataset_name": "../secret"}}}))
    assert "secret-train.arrow" in fault_of(tmp_path / "own/cache")


def test_other_folders_and_broken_downloads_are_no_cache(photos: Path, cache: Path, tmp_path: Path) -> None:
    found: Any = datasets.load_dataset("imagefolder", data_dir=str(photos))
    found.save_to_disk(str(tmp_path / "saved"))
    shutil.copytree(own_folder(cache), tmp_path / "broken/animals/default/0.0.0/0123.incomplete")
    assert not any(is_cache(folder) for folder in (photos, tmp_path / "saved", tmp_path / "broken"))
    assert is_cache(cache)
