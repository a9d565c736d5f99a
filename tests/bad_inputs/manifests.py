"""Tables of paths and labels that are refused: files, columns, cells, targets of other tasks, splits, groups."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas
from PIL import Image

from .rows import GOOD, Make, Row, pictures, text

PHOTOS = [f"photos/{name}/{number}.png" for name in ("cat", "dog") for number in range(4)]
LABELS = ["cat"] * 4 + ["dog"] * 4


def lines(header: str, *rows: str) -> Make:
    return text("bad.csv", "\n".join([header, *rows]))


def good(header: str, *more: Sequence[object], extra: str = "") -> Make:
    """A table of the good photos; more columns; and a text after it."""
    columns = zip(PHOTOS, LABELS, *more, strict=True)
    return text("bad.csv", "\n".join([header, *(",".join(map(str, row)) for row in columns)]) + "\n" + extra)


def parquet(**columns: Any) -> Make:
    return lambda here: pandas.DataFrame({"path": PHOTOS, "label": LABELS, **columns}).to_parquet(here / "bad.parquet")


def images(file: Path, label: str) -> None:
    file.parent.mkdir(exist_ok=True)
    pandas.DataFrame({"path": [b"\x89PNG"] * 8, label: LABELS}).to_parquet(file)


def uneven(here: Path) -> None:
    images(here / "saved/train.parquet", "label")
    images(here / "saved/test.parquet", "kind")


def unnamed(here: Path) -> None:
    images(here / "saved/table.parquet", "label")
    images(here / "saved/train.parquet", "label")


def cached_twice(here: Path) -> None:
    """Two datasets in a cache of ``load_dataset``."""
    for name in ("beans", "pets"):
        folder = here / "cache" / name / "default/0.0.0/0123"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text(json.dumps({"dataset_name": name, "splits": {"train": {}}}))


def metadata(name: str, text: str) -> Make:
    def make(here: Path) -> None:
        pictures(here / "some")
        (here / "some/cat").rename(here / "flat")
        (here / "flat" / name).write_text(text)

    return make


def row(make: Make, *say: str, options: Sequence[str] = (), name: str = "bad.csv", cached: bool = False) -> Row:
    return Row(("search", name, *GOOD, *options), say, make, cached)


def unreadable(here: Path) -> None:
    """Half of the images of a table are texts."""
    pictures(here / "some")
    for name in ("cat", "dog"):
        for number in range(2):
            (here / f"some/{name}/{number}.png").write_text("no image")
    files = sorted(path.relative_to(here) for path in (here / "some").rglob("*.png"))
    lines("path,label", *(f"{file},{file.parent.name}" for file in files))(here)


def many(here: Path) -> None:
    """Forty images with a number each, as a regression has."""
    (here / "many").mkdir()
    for number in range(40):
        Image.new("RGB", (8, 8)).save(here / f"many/{number}.png")
    lines("path,label", *(f"many/{number}.png,{number / 7:.3f}" for number in range(40)))(here)


def ids(here: Path) -> None:
    many(here)
    lines("path,label", *(f"many/{number}.png,photo no. {number}" for number in range(40)))(here)


def outside(path: str) -> Make:
    def make(here: Path) -> None:
        pictures(here.parent / "elsewhere")
        good("path,label", extra=f"{path.format(here=here)},cat\n")(here)

    return make


def broken(here: Path) -> None:
    os.mkfifo(here / "pipe.png")
    good("path,label", extra="pipe.png,cat\n")(here)


def blocked(here: Path) -> None:
    """Each class in three of five groups, but no two groups hold all classes."""
    pictures(here / "more", tuple("xyz"), 3)
    files = sorted(path.relative_to(here) for path in (here / "more").rglob("*.png"))
    cells = ("cat,a", "cat,b", "cat,c", "dog,b", "dog,c", "dog,d", "eel,a", "eel,d", "eel,e")
    lines("path,label,group", *(f"{file},{cell}" for file, cell in zip(files, cells, strict=True)))(here)


SPLITS = ["train", "train", "val", "test"] * 2

MANIFESTS = {
    "table missing": row(lambda _: None, "No such file: bad.csv", options=("--label-column", "label")),
    "table misspelt": row(text("bat.csv"), "No such file: bad.csv", "Did you mean bat.csv?"),
    "table without its suffix": row(
        text("bad.csv"), "No such folder: bad.", "Did you mean bad.csv?", options=("--group", "x"), name="bad"
    ),
    "table empty": row(text("bad.csv"), "bad.csv is empty", "path,label"),
    "table of a header alone": row(lines("path,label"), "no rows below its header"),
    "table in Latin-1": row(text("bad.csv", b"path,label\na.jpg,caf\xe9\n"), "UTF-8", "Save it"),
    "table in UTF-16": row(text("bad.csv", "path,label\na.jpg,cat\n".encode("utf-16")), "UTF-8"),
    "table in UTF-16 without a mark": row(
        text("bad.csv", "path,label\na.jpg,cat\n".encode("utf-16-le")), "control character", "CSV UTF-8"
    ),
    "table of an unclosed quote": row(lines("path,label", '"a.jpg,cat', "b.jpg,dog"), "not a valid table", "row 1"),
    "table of zeros": row(text("bad.csv", b"\0" * 100), "bad.csv"),
    "table with a longer row": row(lines("path,label", "a.jpg,cat", "b.jpg,cat,dog"), "line 3", "3 cells", "quotes"),
    "Parquet that is text": row(text("bad.parquet", "path,label"), "not a Parquet file", name="bad.parquet"),
    "table that is JSON": row(text("bad.json", "{}"), "is a file", ".parquet", name="bad.json"),
    "no column of paths": row(
        good("photo,label"), "no column of paths", "its header has: photo, label", "--path-column"
    ),
    "no column of labels": row(good("path,animal"), "no column of labels", "path, animal", "--label-column"),
    "no columns at all": row(good("a,b"), "no column of paths", "no column of labels"),
    "two columns of paths": row(good("file,image"), "'file' and 'image'", "--path-column"),
    "two columns of one name": row(good("path,label,label", LABELS), "2 columns 'label'", "Rename"),
    "--path-column unknown": row(good("path,label"), "Did you mean 'path'?", options=("--path-column", "paht")),
    "--label-column unknown": row(good("path,label"), "'lable'", "'label'", options=("--label-column", "lable")),
    "--split-column unknown": row(good("path,label"), "--split-column", "Valid", options=("--split-column", "fold")),
    "--group unknown": row(good("path,label"), "--group", "Valid: label, path", options=("--group", "patient")),
    "one column for two": row(good("path,label"), "cannot be two of", options=("--label-column", "path")),
    "--image-root missing": row(good("path,label"), "--image-root", "nowhere", options=("--image-root", "nowhere")),
    "paths from another folder": row(
        good("path,label"),
        "8 of 8 files are not in",
        "'photos/cat/0.png'",
        "--image-root DIR",
        options=("--image-root", "photos"),
    ),
    "a path that is missing": row(good("path,label", extra=",cat\n,dog"), "no path in lines 10, 11", "remove"),
    "a label that is missing": row(good("path,label", extra="a.jpg,\n"), "no label in line 10", "'label'"),
    "a label that is NaN": row(good("path,label", extra="a.jpg,nan\n"), "no label in line 10"),
    "a label that is missing in Parquet": row(
        parquet(label=[None, *LABELS[1:]]), "no label in row 1", name="bad.parquet"
    ),
    "a URL": row(good("path,label", extra="https://x.org/a.jpg,cat\n"), "https://x.org/a.jpg", "Download"),
    "a path above the root": row(outside("../elsewhere/cat/0.png"), "line 10", "is outside", "--allow-outside"),
    "a path above by detours": row(outside("photos/../../elsewhere/cat/0.png"), "is outside", "--image-root"),
    "an absolute path": row(outside("{here}/../elsewhere/cat/0.png"), "is outside", "--allow-outside"),
    "a path that is a folder": row(good("path,label", extra="photos/cat,cat\n"), "'photos/cat' (line 10)", "no file"),
    "a path that is a pipe": row(broken, "'pipe.png' (line 10)", "no file"),
    "a path with an escape": row(good("path,label", extra="a\x1b[31m.jpg,cat\n"), "control character", "Rename"),
    "a row twice": row(
        good("path,label", extra="photos/cat/0.png,cat\n"), "line 10 repeat", "line 2", "Remove the row"
    ),
    "a path twice in two spellings": row(good("path,label", extra="./photos//cat/0.png,cat\n"), "line 10 repeat"),
    "a path under two labels": row(
        good("path,label", extra="photos/cat/0.png,dog\n"), "'cat' and 'dog'", "line 10", "multi-label"
    ),
    "a path in two splits": row(
        good("path,label,split", SPLITS, extra="photos/cat/0.png,cat,test\n"), "'train' and 'test'", "Keep one row"
    ),
    "a path in two groups": row(
        good("path,label,group", range(8), extra="photos/cat/0.png,cat,9\n"), "groups '0' and '9'"
    ),
    "labels alike but for case": row(good("path,label", extra="photos/cat/9.png,Cat\n"), "'Cat' and 'cat'", "case"),
    "a label with an escape": row(good("path,label", extra="x.png,d\x1b[31mog\n"), "control character", "Change it"),
    "a single label": row(lines("path,label", *(f"{path},cat" for path in PHOTOS)), "only the class 'cat'"),
    "a label of two images": row(
        good("path,label", extra="photos/../bat.png,eel\nphotos/../bar.png,eel\n"), "not in", "--image-root"
    ),
    "several labels an image": row(
        lines("path,label", *(f"{path},{label}" for path, label in zip(PHOTOS, ["cat|dog", *LABELS[1:]], strict=True))),
        "multi-label",
        "'cat|dog'",
    ),
    "lists of labels": row(
        lines("path,label", *(f"{path},\"['cat', 'dog']\"" for path in PHOTOS)), "lists (multi-label)"
    ),
    "lists of labels in Parquet": row(
        parquet(label=[["cat"]] * 8), "holds lists", "one class each", name="bad.parquet"
    ),
    "columns of 0 and 1": row(good("path,x,cat,dog", [1, 1, 0, 0] * 2, [0, 1, 1, 0] * 2), "(multi-label)", "cat, dog"),
    "one column of 0 and 1 a class": row(
        good("path,x,cat,dog", [1] * 4 + [0] * 4, [0] * 4 + [1] * 4), "idxmax", "cat, dog"
    ),
    "boxes": row(
        good("path,label,xmin,ymin", range(8), range(8), extra="photos/cat/0.png,cat,7,7\n"), "detection", "xmin"
    ),
    "boxes without labels": row(good("path,kind,xmin,ymin", range(8), range(8)), "detection", "cut each object out"),
    "boxes as labels": row(
        lines("path,label", *(f'{path},"[[1, 2, 3, 4]]"' for path in PHOTOS)), "detection, segmentation"
    ),
    "numbers to predict": row(many, "40 different numbers", "regression"),
    "names as labels": row(ids, "40 different texts in 40 rows", "--label-column"),
    "images in Parquet that are none": row(
        parquet(path=[b"\x89PNG"] * 8), "do not decode", "Repair or remove", name="bad.parquet", cached=True
    ),
    "lists of images in Parquet": row(
        parquet(path=[[b"\x89PNG"]] * 8), "holds lists", "Write the images to files", name="bad.parquet"
    ),
    "images as labels": row(parquet(label=[b"\x89PNG"] * 8), "segmentation", "--label-column", name="bad.parquet"),
    "an image and a path": row(
        parquet(path=[{"bytes": b"\x89PNG", "path": "a"}] * 7 + [{"bytes": None, "path": "a"}]),
        "no image in row 8",
        "only a path",
        name="bad.parquet",
    ),
    "splits of a dataset with other columns": row(
        uneven, "other columns", "(path, label, not path, kind)", name="saved"
    ),
    "a saved dataset without its files": row(
        text("saved/dataset_dict.json", "{}"), "dataset_dict.json", "save_to_disk", name="saved"
    ),
    "a selection of rows saved by an old datasets": row(
        text("saved/state.json", '{"_indices_data_files": [{"filename": "i.arrow"}]}'),
        "old version of datasets",
        "load_from_disk",
        name="saved",
    ),
    "Parquet files with and without a split": row(unnamed, "table.parquet names no split", "train-0", name="saved"),
    "unknown splits": row(
        good("path,label,split", ["train", "train", "fold1", "fold2"] * 2),
        "'fold1', 'fold2'",
        "lines 4, 5",
        "--split-column none",
    ),
    "some splits missing": row(
        good("path,label,split", ["train", "train", "", "test"] * 2), "no split in lines 4, 8", "--split-column none"
    ),
    "splits without train": row(good("path,label,split", ["val", "test"] * 4), "no train"),
    "a split without a class": row(
        good("path,label,split", ["train", "train", "train", "test"] + ["train"] * 4),
        "'dog' has 0 usable images in test",
    ),
    "a test split without labels": row(
        good("path,label,split", ["train"] * 8, extra="a.png,,test\nb.png,,test\n"),
        "no row of the test split",
        "lines 10, 11",
        "frostline predict STUDY TABLE",
    ),
    "some groups missing": row(good("path,label,group", ["a", ""] * 4), "no group in lines 3, 5", "--group none"),
    "too few groups": row(good("path,label,group", ["a", "b"] * 4), "'cat' has images of 2 groups ('a', 'b')"),
    "groups that block each other": row(blocked, "No division of the 5 groups", "Without 'cat'", "Add images"),
    "--group-regex that is none": row(good("path,label"), "--group-regex '('", options=("--group-regex", "(")),
    "--group-regex that finds nothing": row(
        good("path,label"), "no group in 8 of 8", "'photos/cat/0.png'", options=("--group-regex", r"patient(\d+)")
    ),
    "--group-regex and --group": row(
        good("path,label"), "--group and --group-regex", options=("--group-regex", r"\d", "--group", "label")
    ),
    "a cache of several datasets": row(
        cached_twice, "holds 2 datasets", "cache/beans/default/0.0.0/0123", name="cache"
    ),
    "a cached dataset without its files": row(
        cached_twice, "Cannot read beans", "beans-train.arrow", name="cache/beans"
    ),
    "metadata without labels": row(
        metadata("metadata.csv", "file_name,lens\n0.png,50\n"),
        "no column of labels; its header has: file_name, lens",
        "--label-column",
        name="flat",
    ),
    "metadata of files that are not there": row(
        metadata("metadata.csv", "file_name,label\n0.png,cat\n9.png,dog\n"),
        "metadata.csv: 1 of 2 files are not in",
        "'9.png' (line 3)",
        name="flat",
    ),
    "metadata that are no JSON Lines": row(
        metadata("metadata.jsonl", "[\n"), "metadata.jsonl, line 1, is no object of JSON", "such as", name="flat"
    ),
    "images of a table that do not decode": row(unreadable, "do not decode", "Repair or remove", cached=True),
    "--label-column of a folder": row(
        lambda _: None,
        "--label-column does not go with photos",
        "CSV or Parquet",
        options=("--label-column", "x"),
        name="photos",
    ),
    "--nested-classes of a table": row(good("path,label"), "--nested-classes does not", options=("--nested-classes",)),
    "--group-regex of digits": row(
        lambda _: None, "--group-regex does not", options=("--group-regex", r"\d"), name="sklearn:digits"
    ),
    "images beside a table": Row(
        ("search", "photos/cat", *GOOD), ("or name the table that lists them", "x.csv"), text("photos/cat/x.csv")
    ),
    "study file of an unknown column": Row(
        ("search", "s.toml", *GOOD),
        ("'species'", "Valid: label, path"),
        lambda here: (
            good("path,label")(here),
            text("s.toml", '[study]\ndata = "bad.csv"\nlabel_column = "species"')(here),
        ),
    ),
    "worker --image-root missing": Row(
        ("worker", "known", "--data", "bad.csv", "--image-root", "nowhere"),
        ("nowhere", "--image-root"),
        good("path,label"),
    ),
}
