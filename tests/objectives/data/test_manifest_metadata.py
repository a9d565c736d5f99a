"""Metadata beside images, as the ``imagefolder`` of ``datasets`` reads them."""

from __future__ import annotations

import gc
import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import pandas
import pytest

from frostline.objectives.data.dataset_sources import list_source
from frostline.objectives.data.manifests import holds_table

from .stored import fault_of, listed, offline_datasets, write_classes


@pytest.fixture(scope="module", autouse=True)
def offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    yield from offline_datasets(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("given") / "photos")


@pytest.fixture
def flat(classes: Path, tmp_path: Path) -> Path:
    """Folders of splits that hold the images themselves."""
    for file in sorted(classes.rglob("*.png")):
        target = tmp_path / "flat" / file.parts[-3] / f"{file.parts[-2]} {file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return tmp_path / "flat"


Write = Callable[[pandas.DataFrame, Path], object]
WRITERS: dict[str, Write] = {
    "metadata.csv": lambda table, file: table.to_csv(file, index=False),
    "metadata.jsonl": lambda table, file: table.to_json(file, orient="records", lines=True),
    "metadata.parquet": lambda table, file: table.to_parquet(file),
}


def table_of(folder: Path, column: str = "file_name") -> pandas.DataFrame:
    files = sorted(folder.rglob("*.png"))
    names = [file.relative_to(folder).as_posix() for file in files]
    return pandas.DataFrame({column: names, "label": [file.name.split()[0] for file in files], "lens": 50})


def rows(folder: Path, **options: Any) -> list[tuple[Any, ...]]:
    own = listed(folder, folder.parent, **options)
    return sorted((item.split, own.classes[item.label], item.read()) for item in own.items)


def library_rows(folder: Path) -> list[tuple[Any, ...]]:
    """What the library itself finds."""
    with warnings.catch_warnings():
        # The library leaves its metadata open.
        warnings.simplefilter("ignore", ResourceWarning)
        found: Any = datasets.load_dataset("imagefolder", data_dir=str(folder))
        gc.collect()
    names = {"train": "train", "validation": "val", "test": "test"}
    return sorted(
        (names[split], row["label"], Path(row["image"]["path"]).read_bytes())
        for split, part in found.items()
        for row in part.cast_column("image", datasets.Image(decode=False))
    )


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("column", ["file_name", "image_file_name"])
def test_metadata_in_each_split_say_what_the_library_reads(name: str, column: str, flat: Path, classes: Path) -> None:
    for split in flat.iterdir():
        WRITERS[name](table_of(split, column), split / name)
    own = listed(flat, flat.parent)
    assert own.name == "flat"
    assert own.notes == ()
    assert rows(flat) == rows(classes)
    if column == "file_name":
        assert rows(flat) == library_rows(flat)
    assert {item.name for item in own.items} == {file.relative_to(flat).as_posix() for file in flat.rglob("*.png")}


@pytest.mark.parametrize("name", WRITERS)
def test_metadata_of_the_whole_folder_take_splits_from_their_paths(name: str, flat: Path, classes: Path) -> None:
    table = table_of(flat)
    table["label"] = [Path(path).name.split()[0] for path in table["file_name"]]
    WRITERS[name](table, flat / name)
    assert rows(flat) == rows(classes)
    own = listed(flat, flat.parent, split_column="none")
    assert {item.split for item in own.items} == {None}


def test_a_column_of_splits_counts_where_no_folder_does(flat: Path) -> None:
    table = table_of(flat / "train").assign(split=["train", "val", "test"] * 4, patient=range(12))
    WRITERS["metadata.csv"](table, flat / "train/metadata.csv")
    own = listed(flat / "train", flat.parent, group="patient")
    assert [item.split for item in own.items] == table.set_index("file_name")["split"].sort_index().to_list()
    assert own.grouped_by == "column 'patient'"


def test_the_folder_and_the_table_it_holds_are_one_dataset(flat: Path) -> None:
    WRITERS["metadata.jsonl"](table_of(flat / "train"), flat / "train/metadata.jsonl")
    own, table = (listed(flat / name, flat.parent) for name in ("train", "train/metadata.jsonl"))
    assert (own.items, own.classes) == (table.items, table.classes)


def test_labels_of_metadata_count_for_more_than_class_folders(classes: Path, tmp_path: Path) -> None:
    shutil.copytree(classes / "train", tmp_path / "photos")
    table = table_of(tmp_path / "photos")
    table["label"] = ["even" if number % 2 else "odd" for number in range(len(table))]
    WRITERS["metadata.csv"](table, tmp_path / "photos/metadata.csv")
    assert listed(tmp_path / "photos", tmp_path).classes == ("even", "odd")
    # Metadata without labels, or of other files, leave the class folders what they are.
    for other in (table.drop(columns="label"), table.rename(columns={"file_name": "which"})):
        WRITERS["metadata.csv"](other, tmp_path / "photos/metadata.csv")
        own = listed(tmp_path / "photos", tmp_path)
        assert own.classes == ("ape", "cat")
        assert own.notes == ("not taken as images: 1 .csv file",)
    (tmp_path / "photos/metadata.csv").write_bytes(b"\xff\xfe\x00")
    assert listed(tmp_path / "photos", tmp_path).classes == ("ape", "cat")


def test_what_has_no_row_is_counted_and_what_has_no_file_is_named(flat: Path) -> None:
    train = flat / "train"
    table = table_of(train)
    WRITERS["metadata.csv"](table.iloc[:-2], train / "metadata.csv")
    (train / "notes.txt").write_text("taken in May")
    own = listed(train, flat.parent)
    assert len(own.items) == 10
    assert own.notes == ("not taken as images: 2 images without a row in the metadata, 1 .txt file",)
    table.loc[:2, "file_name"] = "gone.png"
    for split in ("train", "test"):
        WRITERS["metadata.csv"](table if split == "train" else table_of(flat / split), flat / split / "metadata.csv")
    said = fault_of(flat)
    assert "*/metadata.csv: 3 of 20 files are not in" in said
    assert "train/metadata.csv:2, train/metadata.csv:3, train/metadata.csv:4" in said


@pytest.mark.parametrize("name", WRITERS)
def test_missing_labels_name_the_columns_and_the_option(name: str, flat: Path) -> None:
    train = flat / "train"
    WRITERS[name](table_of(train).rename(columns={"label": "kind"}), train / name)
    said = fault_of(train)
    assert f"{name} has no column of labels; its header has: file_name, kind, lens" in said
    assert "--label-column COLUMN" in said
    assert listed(train, flat.parent, label_column="kind").classes == ("ape", "cat")


def test_a_test_split_without_labels_is_named(flat: Path) -> None:
    for split in flat.iterdir():
        table = table_of(split)
        table = table.drop(columns="label") if split.name == "test" else table
        WRITERS["metadata.csv"](table, split / "metadata.csv")
    assert "no row of the test split has a label (lines test/metadata.csv:2, " in fault_of(flat)


def test_one_of_several_columns_of_files_must_be_named(flat: Path) -> None:
    train = flat / "train"
    table = table_of(train, "left_file_name")
    table["right_file_name"] = table["left_file_name"]
    WRITERS["metadata.csv"](table, train / "metadata.csv")
    said = fault_of(train)
    assert "has the columns 'left_file_name' and 'right_file_name'. Name one with --path-column" in said
    assert len(listed(train, flat.parent, path_column="right_file_name").items) == 12


def test_faults_of_the_files_themselves(flat: Path) -> None:
    train = flat / "train"
    for name in ("metadata.csv", "metadata.jsonl"):
        WRITERS[name](table_of(train), train / name)
    assert "has metadata.csv and metadata.jsonl. Keep one of them." in fault_of(train)
    (train / "metadata.csv").unlink()
    (train / "metadata.jsonl").write_text('{"file_name": "a.png", "label": "x"}\nfile_name\n')
    assert 'metadata.jsonl, line 2, is no object of JSON. Write one a line, such as: {"file_name"' in fault_of(train)
    lines = [{"file_name": name, "label": [label]} for name, label in table_of(train)[["file_name", "label"]].values]
    (train / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert "'label' of metadata.jsonl holds lists (multi-label" in fault_of(train)
    (train / "metadata.jsonl").write_text('{"file_name": "../../secret.png", "label": "x"}\n')
    assert "is outside" in fault_of(train)


def test_images_to_classify_need_no_row(flat: Path) -> None:
    WRITERS["metadata.csv"](table_of(flat / "train"), flat / "train/metadata.csv")
    assert not holds_table(str(flat / "train"))


def test_archives_of_class_folders_stay_what_they_are(classes: Path, tmp_path: Path) -> None:
    shutil.copytree(classes, tmp_path / "photos")
    WRITERS["metadata.csv"](table_of(tmp_path / "photos").drop(columns="label"), tmp_path / "photos/metadata.csv")
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "photos")
    assert list_source(archive, download_dir=tmp_path).classes == ("ape", "cat")
