"""Manifests: tables that list images with their labels, and perhaps their splits and groups."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidInputError
from .layouts import split_named
from .listing import Embedded, Item, Listing, alike_but_for_case, sorted_by_name
from .listing_options import NO_COLUMN, ListingOptions
from .manifest_columns import Columns, find_columns, find_paths
from .manifest_files import SUFFIXES, is_stored_dataset, read_table
from .manifest_images import place_images
from .manifest_metadata import has_metadata, metadata_notes, read_metadata
from .manifest_table import Cells, Table
from .scan import is_plain, nearest_beside, readable
from .target_kinds import other_task, target_fault


def list_manifest(source: str, options: ListingOptions, scratch: Path) -> Listing:
    """List the images of a manifest; see :func:`list_source`.

    An image's name is its path below the image root, as that of an image in a folder, so a folder and its manifest
    are the same dataset.

    Args:
        source: File or folder of a table.
        options: Its columns and image root.
        scratch: Folder of images that are unpacked to be read.

    Raises:
        InvalidInputError: The table cannot be read, lacks columns, or has rows that no study can use; each kind of
            fault is one message.
    """
    file, table, root = _opened(source, options, scratch)
    columns = find_columns(table, options)
    rows = _Rows.of(table, columns)
    if faults := [*_empty_cells(table, columns, rows), *_split_faults(table, columns, rows)]:
        raise InvalidInputError(faults)
    labels = [unicodedata.normalize("NFC", label or "") for label in rows.labels]
    paths, words = [path or "" for path in rows.paths], rows.words or [None] * len(rows.paths)
    folders = [f"{word}/{label}" if word else label for word, label in zip(words, labels, strict=True)]
    names, contents, path_faults = place_images(table, columns.path, paths, folders, root, options)
    repeats = list(_repeats(table, columns, rows, names))
    # Several rows an image tell best what else a table may be.
    if fault := target_fault(columns.label, labels):
        raise InvalidInputError(f"{table.name}: {fault}")
    if repeats and (task := other_task(table.columns, repeated=True)):
        raise InvalidInputError(f"{table.name} {task}")
    if faults := [*path_faults, *repeats, *_label_faults(table, columns, labels)]:
        raise InvalidInputError(faults)
    classes = tuple(sorted(set(labels)))
    index = {label: place for place, label in enumerate(classes)}
    groups = rows.groups or [None] * len(names)
    items = (
        Item(name, index[label], split, content, group)
        for name, label, split, content, group in zip(names, labels, rows.splits, contents, groups, strict=True)
    )
    grouped_by = f"column {columns.group!r}" if rows.groups else ""
    listed = sorted_by_name(items)
    notes = metadata_notes(root, listed, options.suffixes) if _is_described(file) else ()
    return Listing(table.title or file.stem, classes, listed, notes, grouped_by)


@dataclass(frozen=True)
class UnlabeledRow:
    """A row of a table whose images are to be classified.

    Attributes:
        name: Path of the image as the table has it, or where it is, in words.
        content: The image, or its file.
        cells: Plain cells by column; empty where missing.
    """

    name: str
    content: Path | Embedded
    cells: dict[str, str]


def holds_table(source: str) -> bool:
    """Whether a file or folder is a table of images, by its name or what is in it.

    A folder of image files with metadata is none: to classify its images needs no table.
    """
    path = Path(os.path.expanduser(source))
    # os.path takes names that are no names, such as one that is too long, for missing files.
    return is_stored_dataset(path) if os.path.isdir(path) else path.name.lower().endswith(SUFFIXES)


def holds_labels(source: str, options: ListingOptions) -> bool:
    """Whether the labels of a dataset are in a table: one of images, or the metadata of a folder of image files."""
    path = Path(os.path.expanduser(source))
    return holds_table(source) or (os.path.isdir(path) and has_metadata(path, options))


def list_rows(source: str, options: ListingOptions, scratch: Path) -> list[UnlabeledRow]:
    """List the images of a table that needs no labels, in the order of its rows; an image may be in several.

    Args:
        source: File or folder of a table.
        options: Its column of images and image root.
        scratch: Folder of images that are unpacked to be read.

    Raises:
        InvalidInputError: The table cannot be read, has no column of images, or over 10 % of them are missing.
    """
    _, table, root = _opened(source, options, scratch)
    column = find_paths(table, options)
    paths = table.read(column)
    if empty := [row for row, path in enumerate(paths) if path is None]:
        raise InvalidInputError(
            f"{table.name}: no path in {table.places(empty)}, column {column!r}. Fill in a path, or remove "
            f"{_the_rows(empty)}."
        )
    known = [path or "" for path in paths]
    _, contents, faults = place_images(table, column, known, [""] * len(known), root, options)
    if faults:
        raise InvalidInputError(faults)
    plain = [name for name in table.columns if name and (name not in table.nested or name in table.images)]
    cells = {name: table.read(name) for name in plain}
    return [
        UnlabeledRow(
            known[row] or table.places([row]), content, {name: column[row] or "" for name, column in cells.items()}
        )
        for row, content in enumerate(contents)
    ]


def _opened(source: str, options: ListingOptions, scratch: Path) -> tuple[Path, Table, Path]:
    """The file or folder of a manifest, its table, and its image root."""
    file = Path(os.path.realpath(os.path.expanduser(source)))
    if not os.path.exists(file):
        meant = nearest_beside(Path(source), SUFFIXES)
        raise InvalidInputError(f"No such file: {readable(source)}.{meant} Name a CSV, TSV or Parquet file.")
    table = read_metadata(file, options, scratch) if _is_described(file) else read_table(file, scratch)
    root = Path(options.root_of(str(file)))
    if not root.is_dir():
        raise InvalidInputError(f"No such folder: --image-root {readable(str(root))}. Name the folder of the images.")
    return file, table, root


def _is_described(source: Path) -> bool:
    """Whether a source that is a table is a folder with metadata."""
    return source.is_dir() and not is_stored_dataset(source)


@dataclass(frozen=True)
class _Rows:
    """What the rows say of the images: path, label, split as ``train``, ``val`` or ``test``, and group."""

    paths: Cells
    labels: Cells
    words: Cells
    splits: Cells
    groups: Cells

    @classmethod
    def of(cls, table: Table, columns: Columns) -> _Rows:
        paths, labels = table.read(columns.path), table.read(columns.label)
        words: Cells = table.read(columns.split) if columns.split else []
        groups: Cells = table.read(columns.group) if columns.group else []
        # A column that is empty gives no splits, or no groups.
        words, groups = (cells if any(cells) else [] for cells in (words, groups))
        splits = [split_named(word) if word else None for word in words] or [None] * len(paths)
        return cls(paths, labels, words, splits, groups)


def _empty_cells(table: Table, columns: Columns, rows: _Rows) -> Iterator[str]:
    """Faults of cells that are missing."""
    unlabeled = [row for row, label in enumerate(rows.labels) if label is None]
    tests = [row for row, split in enumerate(rows.splits) if split == "test"]
    if tests and set(tests) <= set(unlabeled):
        yield (
            f"{table.name}: no row of the test split has a label ({table.places(tests)}), so nothing can be tested on "
            "it. Remove these rows; when the study has a winner, it classifies them in a table of their own: "
            "frostline predict STUDY TABLE"
        )
        unlabeled = [row for row in unlabeled if row not in set(tests)]
    kinds = (
        ("path", columns.path, [row for row, path in enumerate(rows.paths) if path is None]),
        ("label", columns.label, unlabeled),
        ("split", columns.split, [row for row, word in enumerate(rows.words) if word is None]),
        ("group", columns.group, [row for row, group in enumerate(rows.groups) if group is None]),
    )
    for kind, column, empty in kinds:
        if empty:
            ignore = f", or ignore the column: {_ignoring(kind)} {NO_COLUMN}" if kind in ("split", "group") else ""
            yield (
                f"{table.name}: no {kind} in {table.places(empty)}, column {column!r}. "
                f"Fill {'it' if len(empty) == 1 else 'them'} in, or remove {_the_rows(empty)}{ignore}."
            )


def _split_faults(table: Table, columns: Columns, rows: _Rows) -> Iterator[str]:
    unknown = [row for row, word in enumerate(rows.words) if word is not None and rows.splits[row] is None]
    if unknown:
        words = list(dict.fromkeys(str(rows.words[row]) for row in unknown))
        shown = ", ".join(repr(word) for word in words[:3]) + (" ..." if len(words) > 3 else "")
        yield (
            f"{table.name}: the column {columns.split!r} has {shown} in {table.places(unknown)}, which is no split. "
            "Write train, val or test (training, valid, validation, dev, testing and the like mean them), or ignore "
            f"the column: --split-column {NO_COLUMN}"
        )
    elif any(rows.splits) and "train" not in rows.splits:
        found = " and ".join(sorted({str(split) for split in rows.splits}))
        yield (
            f"{table.name}: the column {columns.split!r} has {found} but no train. Write train in the rows of the "
            f"training images, or ignore the column: --split-column {NO_COLUMN}"
        )


def _repeats(table: Table, columns: Columns, rows: _Rows, names: Sequence[str]) -> Iterator[str]:
    """Faults of images that are in several rows: as copies, with several labels, in several splits or groups."""
    first: dict[str, int] = {}
    again = [(row, first[name]) for row, name in enumerate(names) if first.setdefault(name, row) != row]
    kinds: dict[str, list[tuple[int, int]]] = {}
    compared = (("label", rows.labels), ("split", rows.splits), ("group", rows.groups))
    for row, before in again:
        kind = next((kind for kind, cells in compared if cells and cells[row] != cells[before]), "copy")
        kinds.setdefault(kind, []).append((row, before))
    for kind, pairs in kinds.items():
        row, before = pairs[0]
        places = table.places([row for row, _ in pairs])
        where = f"{names[row]!r} in {table.places([before])} and {table.places([row])}"
        if kind == "copy":
            yield f"{table.name}: {places} repeat rows above, such as {where}. Remove {_the_rows(pairs)}."
        else:
            cells = dict(compared)[kind]
            told = f"{where} has the {kind}s {cells[before]!r} and {cells[row]!r}"
            several = " Images with several labels (multi-label) cannot be used." if kind == "label" else ""
            more = f", and {len(pairs) - 1:,} more" if len(pairs) > 1 else ""
            yield f"{table.name}: {told}{more}. Keep one row for each image.{several}"


def _label_faults(table: Table, columns: Columns, labels: Sequence[str]) -> Iterator[str]:
    """Faults of the names of classes, which go into files, tables and pages."""
    for name, count in Counter(labels).items():
        if not is_plain(name):
            yield (
                f"{table.name}: the label '{readable(name)}' in {count:,} rows of column {columns.label!r} has a line "
                "break or a control character. Change it."
            )
    for alike in alike_but_for_case(set(labels)):
        yield (
            f"{table.name}: the labels {' and '.join(map(repr, alike))} of column {columns.label!r} differ in case "
            "alone. If they are one class, write it in one way; else give them names that differ."
        )


def _the_rows(rows: Sequence[object]) -> str:
    return "the row" if len(rows) == 1 else "these rows"


def _ignoring(kind: str) -> str:
    return "--group" if kind == "group" else f"--{kind}-column"
