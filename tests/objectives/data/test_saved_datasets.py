"""Datasets of Hugging Face, written by the library ``datasets`` itself: saved folders, and Parquet of the Hub."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from frostline.objectives.data.dataset import prepare_dataset
from frostline.objectives.data.digests import DigestIndex
from frostline.objectives.data.splits import SPLITS
from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing

from .stored import CLASSES, embedded, fault_of, listed, offline_datasets, write_classes

PREPROCESSING = Preprocessing(16, 16, "bilinear", IMAGENET_MEAN, IMAGENET_STD)


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield from offline_datasets(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("given") / "photos")


@pytest.fixture(scope="module")
def loaded(photos: Path) -> datasets.DatasetDict:
    found = datasets.load_dataset("imagefolder", data_dir=str(photos))
    assert isinstance(found, datasets.DatasetDict)
    assert set(found) == {"train", "validation", "test"}
    # As the library lists them by default, with the rows of a class in a row; here in any order.
    return found.shuffle(seed=0)


@pytest.fixture(scope="module", params=["saved", "saved in shards", "hub", "folders of splits"])
def stored(
    request: pytest.FixtureRequest, loaded: datasets.DatasetDict, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    root = tmp_path_factory.mktemp("stored") / "animals"
    if request.param.startswith("saved"):
        loaded.save_to_disk(
            str(root), num_shards=dict.fromkeys(map(str, loaded), 2 if "shards" in request.param else 1)
        )
        return root
    for split, part in loaded.items():
        for shard in range(2):
            hub = root / f"data/{split}-{shard:05d}-of-00002.parquet"
            file = hub if request.param == "hub" else root / f"default/{split}/{shard:04d}.parquet"
            file.parent.mkdir(parents=True, exist_ok=True)
            embedded(part.shard(2, shard, contiguous=True)).to_parquet(str(file))
    (root / "README.md").write_text("---\nlicense: mit\n---\n")
    return root


def save(rows: dict[str, Any], to: Path, **features: Any) -> Path:
    datasets.Dataset.from_dict(rows, features=datasets.Features(features) if features else None).save_to_disk(str(to))
    return to


def pixels(count: int) -> list[np.ndarray]:
    return [np.full((8, 8, 3), 9 * number, dtype=np.uint8) for number in range(count)]


def test_a_folder_and_what_datasets_stores_of_it_are_one_dataset(photos: Path, stored: Path, tmp_path: Path) -> None:
    own, folder = (listed(source, tmp_path / "downloads") for source in (stored, photos))
    assert own.name == "animals"
    assert own.classes == folder.classes == ("ape", "cat")
    fields = [[(item.name, item.label, item.split, item.group) for item in each.items] for each in (own, folder)]
    assert fields[0] == fields[1]
    assert [item.read() for item in own.items] == [item.read() for item in folder.items]
    digests = [DigestIndex(listing, tmp_path / "hashes").digests() for listing in (own, folder)]
    assert digests[0] == digests[1]
    # What was unpacked has no name any more.
    assert not [*tmp_path.glob("downloads/*")]


def test_canvases_splits_and_identity_are_those_of_the_folder(photos: Path, stored: Path, tmp_path: Path) -> None:
    made = [
        prepare_dataset(str(source), PREPROCESSING, cache_dir=tmp_path / source.name, seed=0)
        for source in (photos, stored)
    ]
    assert made[0].fingerprint == made[1].fingerprint
    assert made[0].split_fingerprint == made[1].split_fingerprint
    assert made[1].counts == {name: {"ape": n, "cat": n} for name, n in zip(SPLITS, (6, 3, 4), strict=True)}
    for one, other in zip(made[0].search_splits(), made[1].search_splits(), strict=True):
        assert np.array_equal(one.images(slice(None)), other.images(slice(None)))
        assert np.array_equal(one.labels, other.labels)


def test_images_are_not_read_again_until_their_file_changes(
    stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(stored, copied)
    monkeypatch.setattr("frostline.objectives.data.digests._SETTLED_SECONDS", -1)
    cache = tmp_path / "cache"
    first = prepare_dataset(str(copied), PREPROCESSING, cache_dir=cache, seed=0)
    with monkeypatch.context() as patch:
        # Nothing can be read.
        patch.setattr("frostline.objectives.data.manifest_arrow._File._images", lambda *_: {})
        again = prepare_dataset(str(copied), PREPROCESSING, cache_dir=cache, seed=0)
    assert first.fingerprint == again.fingerprint


def test_a_dataset_that_is_saved_again_is_another(loaded: datasets.DatasetDict, tmp_path: Path) -> None:
    counts = []
    for part in (loaded["train"], loaded["train"].select(range(11))):
        shutil.rmtree(tmp_path / "saved", ignore_errors=True)
        part.save_to_disk(str(tmp_path / "saved"))
        found = prepare_dataset(str(tmp_path / "saved"), PREPROCESSING, cache_dir=tmp_path / "cache", seed=0)
        counts.append(sum(sum(split.values()) for split in found.counts.values()))
    assert counts == [12, 11]


def test_a_dataset_without_splits_is_split_as_its_folder(loaded: Any, photos: Path, tmp_path: Path) -> None:
    loaded["train"].save_to_disk(str(tmp_path / "saved"))
    embedded(loaded["train"]).to_parquet(str(tmp_path / "photos.parquet"))
    made = [
        prepare_dataset(str(source), PREPROCESSING, cache_dir=tmp_path / "cache", seed=3).search_splits()[0]
        for source in (photos / "train", tmp_path / "saved", tmp_path / "photos.parquet")
    ]
    for other in made[1:]:
        assert other.fingerprint == made[0].fingerprint
        assert np.array_equal(other.images(slice(None)), made[0].images(slice(None)))


def test_splits_may_be_made_anew(stored: Path, tmp_path: Path) -> None:
    own = listed(stored, tmp_path, split_column="none")
    assert {item.split for item in own.items} == {None}
    # Two splits have images of the same names.
    assert len({item.name for item in own.items}) == len(own.items) == 26


def test_groups_come_from_columns_or_names(stored: Path, tmp_path: Path) -> None:
    named = listed(stored, tmp_path, group_regex=r"/(\w+/p\d)")
    assert set(named.groups or ()) == {f"{name}/p{number}" for name in CLASSES for number in range(3)}
    rows = {"image": pixels(8), "label": ["cat", "dog"] * 4, "patient": [7, 7, 8, 8, 9, 9, 10, 10]}
    features = {"image": IMAGE, "label": datasets.Value("string"), "patient": datasets.Value("int32")}
    saved = save(rows, tmp_path / "saved", **features)
    own = listed(saved, tmp_path, group="patient")
    assert own.grouped_by == "column 'patient'"
    assert own.groups is not None
    assert sorted(own.groups) == ["10", "10", "7", "7", "8", "8", "9", "9"]


def test_labels_may_be_texts_numbers_or_classes_of_any_column(tmp_path: Path) -> None:
    labels = {
        "texts": ["cat", "ape"] * 4,
        "numbers": [3, 10] * 4,
        "coarse": [1, 0] * 4,
    }
    features = {
        "img": datasets.Image(),
        "texts": datasets.Value("string"),
        "numbers": datasets.Value("int64"),
        "coarse": datasets.ClassLabel(names=["zebra", "yak", "unused"]),
    }
    saved = save({"img": pixels(8)} | labels, tmp_path / "saved", **features)
    # The only column of classes is taken.
    assert listed(saved, tmp_path).classes == ("yak", "zebra")
    found = {column: listed(saved, tmp_path, label_column=column) for column in labels}
    assert {column: own.classes for column, own in found.items()} == {
        "texts": ("ape", "cat"),
        "numbers": ("10", "3"),
        "coarse": ("yak", "zebra"),
    }
    # Images without a path are named by their rows; each has the pixels and the class of its row.
    for item in found["texts"].items:
        row = int(item.name.rpartition("/")[2])
        assert found["texts"].classes[item.label] == labels["texts"][row]
        content = item.read()
        assert isinstance(content, bytes)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels(8)[row])


def test_paths_lead_to_files_below_the_root_as_in_tables(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(photos / "train", tmp_path / "photos")
    files = sorted((tmp_path / "photos").rglob("*.png"))
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES), "path": datasets.Value("string")}
    )
    rows = {
        "image": [file.relative_to(tmp_path).as_posix() for file in files],
        "label": [file.parent.name for file in files],
        "path": ["elsewhere.png"] * len(files),
    }
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "x.parquet"))
    own = listed(tmp_path / "x.parquet", tmp_path)
    assert [item.content for item in own.items] == files
    assert [own.classes[item.label] for item in own.items] == [file.parent.name for file in files]
    (tmp_path / "tables").mkdir()
    shutil.move(tmp_path / "x.parquet", tmp_path / "tables/x.parquet")
    assert "--image-root" in fault_of(tmp_path / "tables/x.parquet")
    assert len(listed(tmp_path / "tables/x.parquet", tmp_path, image_root=str(tmp_path)).items) == len(files)
    (tmp_path / "secret.png").touch()
    monkeypatch.chdir(tmp_path / "tables")
    rows["image"] = ["../secret.png"] * len(files)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / "tables/bad.parquet"))
    assert "is outside" in fault_of(tmp_path / "tables/bad.parquet")


def test_a_folder_of_images_with_a_table_stays_a_folder(photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos, tmp_path / "photos")
    table = datasets.Dataset.from_dict({"path": ["train/cat/p0 0.png"], "label": ["cat"]})
    table.to_parquet(str(tmp_path / "photos/train.parquet"))
    assert len(listed(tmp_path / "photos", tmp_path).items) == 26


IMAGE = datasets.Image()
CLASS = datasets.ClassLabel(names=CLASSES)


@pytest.mark.parametrize(
    ("features", "labels", "said"),
    [
        ({"label": datasets.List(CLASS)}, {"label": [[0, 1]] * 8}, "holds lists (multi-label"),
        ({"label": datasets.Value("float32")}, {"label": np.arange(8) / 7 + 0.01}, "targets of a regression"),
        (
            {"objects": {"bbox": datasets.List(datasets.List(datasets.Value("int64")))}},
            {"objects": [{"bbox": [[0, 0, 1, 1]]}] * 8},
            "detection",
        ),
        ({"label": IMAGE}, {"label": pixels(8)}, "segmentation"),
        ({"caption": datasets.Value("string")}, {"caption": list("abcdefgh")}, "no column of labels"),
        ({"label": CLASS}, {"label": [-1] * 4 + [0, 1] * 2}, "no label in rows 1, 2, 3 and 1 more"),
    ],
)
def test_other_tasks_and_missing_labels_are_named(
    features: dict[str, Any], labels: dict[str, Any], said: str, tmp_path: Path
) -> None:
    # A regression is told by more rows than these.
    times = 2 if "regression" in said else 1
    rows = {name: [*values] * times for name, values in {"image": pixels(8), **labels}.items()}
    if times == 2:
        rows["label"] = [float(value) for value in np.linspace(0.03, 0.97, 16)]
    assert said in fault_of(save(rows, tmp_path / "saved", image=IMAGE, **features))


def test_a_test_split_without_labels_is_named(tmp_path: Path) -> None:
    features = datasets.Features(image=IMAGE, label=CLASS)
    given, kept_back = (
        datasets.Dataset.from_dict({"image": pixels(8), "label": labels}, features=features)
        for labels in ([0, 1] * 4, [-1] * 8)
    )
    datasets.DatasetDict({"train": given, "test": kept_back}).save_to_disk(str(tmp_path / "saved"))
    assert "no row of the test split has a label" in fault_of(tmp_path / "saved")
    datasets.DatasetDict({"train": given, "extra": given}).save_to_disk(str(tmp_path / "odd"))
    assert "'extra'" in fault_of(tmp_path / "odd")


def test_damage_is_named(loaded: datasets.DatasetDict, tmp_path: Path) -> None:
    loaded.save_to_disk(str(tmp_path / "damaged"), num_shards=dict.fromkeys(map(str, loaded), 2))
    file = next(file for file in sorted((tmp_path / "damaged").rglob("*-of-*")) if "train" in str(file))
    file.write_bytes(file.read_bytes()[:200])
    assert file.name in fault_of(tmp_path / "damaged")
    file.unlink()
    said = fault_of(tmp_path / "damaged")
    assert said.startswith("Cannot read damaged")
    assert file.name in said


@pytest.mark.parametrize("name", ["../other/data.arrow", "/etc/passwd", "", 7])
def test_a_saved_dataset_names_files_of_its_own_alone(tmp_path: Path, name: object) -> None:
    saved = save(
        {"image": pixels(4), "label": ["a", "b"] * 2}, tmp_path / "saved", image=IMAGE, label=datasets.Value("string")
    )
    state = json.loads((saved / "state.json").read_text())
    (saved / "state.json").write_text(json.dumps(state | {"_data_files": [{"filename": name}]}))
    assert "is not as datasets writes it" in fault_of(saved)
