"""Which columns of a manifest hold paths, labels, splits and groups: those that are named, or have a usual name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InvalidInputError, unknown_name
from .listing_options import NO_COLUMN, ListingOptions, option_name
from .manifest_table import Table
from .target_kinds import one_hot, other_task

# Usual names, without case. The first one is taken before the others; of the others, only one may be there.
_USUAL = {
    "path_column": (
        *("path", "file", "filename", "file_name", "filepath", "file_path"),
        *("image", "image_path", "image_file", "image_name", "img", "img_path", "relative_path"),
    ),
    "label_column": (
        *("label", "labels", "class", "class_name", "classname", "category", "target", "label_name", "classid"),
        *("class_id", "label_id", "category_name"),
    ),
    "split_column": ("split", "subset", "partition", "set", "data_split", "dataset_split"),
    "group": ("group", "group_id"),
}
_HOLDS = {"path_column": "paths", "label_column": "labels", "split_column": "splits", "group": "groups"}
_NEEDED = ("path_column", "label_column")
# What the library ``datasets`` declares such columns to be.
_DECLARED = {"path_column": "Image", "label_column": "ClassLabel"}


@dataclass(frozen=True)
class Columns:
    """Names of the columns; empty for one that is not there."""

    path: str
    label: str
    split: str
    group: str


def find_columns(table: Table, options: ListingOptions) -> Columns:
    """Find the columns of a table.

    Raises:
        InvalidInputError: A column is missing, is there twice, holds no plain values, or cannot be told from others.
    """
    faults: list[str] = []
    found = {field: _find(table, field, getattr(options, field), faults) for field in _USUAL}
    if options.group_regex and not options.group:
        found["group"] = ""
    faults += [fault for field, name in found.items() if name and (fault := _unusable(table, field, name))]
    chosen = [name for name in found.values() if name]
    faults += [
        f"The column {name!r} of {table.name} cannot be two of paths, labels, splits and groups. "
        "Name another with --path-column, --label-column, --split-column or --group."
        for name in dict.fromkeys(chosen)
        if chosen.count(name) > 1
    ]
    if faults:
        raise InvalidInputError(faults)
    return Columns(found["path_column"], found["label_column"], found["split_column"], found["group"])


def find_paths(table: Table, options: ListingOptions) -> str:
    """Find the column of the images alone, of a table that needs no labels.

    Raises:
        InvalidInputError: It is missing, is there twice, holds something else, or cannot be told from others.
    """
    faults: list[str] = []
    name = _find(table, "path_column", options.path_column, faults)
    if name and (fault := _unusable(table, "path_column", name)):
        faults.append(fault)
    if faults:
        raise InvalidInputError(faults)
    return name


def has_label(table: Table) -> bool:
    """Whether a column holds labels by its name or declaration; perhaps several."""
    usual = set(_USUAL["label_column"])
    return any(column.casefold() in usual or table.features.get(column) == "ClassLabel" for column in table.columns)


def _find(table: Table, field: str, wanted: str, faults: list[str]) -> str:
    if wanted:
        if wanted in table.columns:
            return wanted
        if wanted == NO_COLUMN and field not in _NEEDED:
            return ""
        known = filter(None, table.columns)
        faults.append(f"{option_name(field)}: {unknown_name(f'column of {table.name}', wanted, known)}")
        return ""
    first, *others = _USUAL[field]
    declared = [column for column in table.columns if table.features.get(column, "") == _DECLARED.get(field)]
    # Images in the table come before paths, which may be those of another machine.
    columns = declared if declared and field == "path_column" else table.columns
    folded = [column.casefold() for column in columns]
    if first in folded:
        return columns[folded.index(first)]
    usual = [column for column, name in zip(columns, folded, strict=True) if name in others]
    if len(meant := usual or declared) == 1:
        return meant[0]
    if meant:
        shown = " and ".join(map(repr, meant))
        none = "" if field in _NEEDED else f" or {NO_COLUMN}"
        faults.append(f"{table.name} has the columns {shown}. Name one{none} with {option_name(field)}.")
    elif field in _NEEDED:
        faults.append(_missing(table, field))
    return ""


def _missing(table: Table, field: str) -> str:
    there = ", ".join(filter(None, table.columns))
    if field == "label_column":
        if task := other_task(table.columns, repeated=False):
            return f"{table.name} {task}"
        plain = [column for column in table.columns if column and column not in table.nested]
        if marks := one_hot(plain, [table.read(column) for column in plain]):
            return _one_hot_fault(table, marks)
    return (
        f"{table.name} has no column of {_HOLDS[field]}; its header has: {there}. "
        f"Name the column with {option_name(field)} COLUMN."
    )


def _one_hot_fault(table: Table, marks: Sequence[str]) -> str:
    set_marks = [sum(cell in ("1", "True") for cell in row) for row in zip(*map(table.read, marks), strict=True)]
    shown = ", ".join(marks[:4]) + (" ..." if len(marks) > 4 else "")
    if all(count == 1 for count in set_marks):
        return (
            f"{table.name} has no column of labels, but one of 0 and 1 for each class ({shown}). Write one column with "
            "the names instead; in pandas: table[classes].idxmax(axis=1)"
        )
    return (
        f"{table.name} has no column of labels, but columns of 0 and 1 ({shown}), with several or none set in a row "
        "(multi-label). Frostline classifies images with one class each: leave the others out, and write one column."
    )


def _unusable(table: Table, field: str, name: str) -> str | None:
    if table.columns.count(name) > 1:
        return f"{table.name} has {table.columns.count(name)} columns {name!r}. Rename all but one."
    if (holds := table.nested.get(name)) is None or (field == "path_column" and name in table.images):
        return None
    if field == "path_column":
        return (
            f"The column {name!r} of {table.name} holds {holds}, not paths. Write the images to files, and a column "
            "of their paths."
        )
    kind = {
        "lists": " (multi-label, or boxes of a detection)",
        "images or other data": " (masks of a segmentation?)",
    }.get(holds, "")
    return (
        f"The column {name!r} of {table.name} holds {holds}{kind}, not texts or numbers. Frostline classifies images "
        f"with one class each: name another column with {option_name(field)}."
    )
