"""Image folders with their metadata, as ``imagefolder`` of the library ``datasets`` reads them.

``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` lies in the folder, or in each folder of a split, and has a
row for each image: its path from there in a column ``file_name`` (or ``*_file_name``), and its label in another
(https://huggingface.co/docs/datasets/image_dataset). Together they are one table of the folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ..errors import InvalidInputError
from .layouts import split_named
from .listing import Item
from .listing_options import ListingOptions
from .manifest_columns import has_label
from .manifest_files import read_table
from .manifest_shards import dataset_folders
from .manifest_table import Cells, Table
from .scan import describe_passed_over, is_helper, kind_of_file, readable, scan_folder

_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SPLIT = "split"


def has_metadata(folder: Path, options: ListingOptions) -> bool:
    """Whether metadata say what the images of a folder are.

    Metadata without a column of files do not, nor do those without labels where the images lie in class folders.
    """
    found = list(_files(folder))
    if not found:
        return False
    try:
        table = read_table(found[0], folder)
    except InvalidInputError:
        return not _has_class_folders(found[0].parent)
    if not (options.path_column in table.columns or any(map(_names_files, table.columns))):
        return False
    return options.label_column in table.columns or has_label(table) or not _has_class_folders(found[0].parent)


def read_metadata(folder: Path, options: ListingOptions, scratch: Path) -> Table:
    """Read the metadata of a folder as one table, whose paths start from the folder.

    Where the metadata lie in folders of splits, or the paths lead through such, the splits are a column of it.

    Raises:
        InvalidInputError: Metadata cannot be read, or a folder has two of them.
    """
    files = list(_files(folder))
    if twice := next((file for file in files if sum(file.parent == other.parent for other in files) > 1), None):
        both = " and ".join(file.name for file in files if file.parent == twice.parent)
        raise InvalidInputError(f"{readable(str(twice.parent))} has {both}. Keep one of them.")
    tables = [read_table(file, scratch) for file in files]
    placed = [file.parent.relative_to(folder).as_posix() for file in files]
    columns = tuple(dict.fromkeys(column for table in tables for column in table.columns))
    paths = {column for column in columns if _names_files(column) or column == options.path_column}

    def read(column: str) -> Cells:
        own = [table.read(column) if column in table.columns else [None] * len(table.numbers) for table in tables]
        if column in paths:
            own = [[_below(prefix, path) for path in cells] for prefix, cells in zip(placed, own, strict=True)]
        return list(chain.from_iterable(own))

    # A column of the table's own counts for more, unless the metadata themselves lie in folders of splits.
    by_folder = any(map(split_named, placed)) or _SPLIT not in columns
    splits = _splits(read(min(paths))) if by_folder and paths else []

    def read_with_splits(column: str) -> Cells:
        return splits if splits and column == _SPLIT else read(column)

    names = [file.relative_to(folder).as_posix() for file in files]
    several = len(files) > 1
    return Table(
        readable(f"*/{files[0].name}" if several else names[0]),
        tuple(dict.fromkeys((*([_SPLIT] if splits else []), *columns))),
        tables[0].unit,
        [
            f"{readable(name)}:{number}" if several else number
            for name, table in zip(names, tables, strict=True)
            for number in table.numbers
        ],
        {column: kind for table in tables for column, kind in table.nested.items()},
        read_with_splits,
        features={**_features(tables), **dict.fromkeys(paths, "Image")},
        title=readable(folder.name),
    )


def metadata_notes(folder: Path, items: Sequence[Item], also: frozenset[str]) -> tuple[str, ...]:
    """What of a folder is not taken: images without a row, and other files.

    Args:
        folder: The folder.
        items: Images with a row.
        also: Suffixes of files that are images too.
    """
    scanned, taken = scan_folder(folder, also), {item.content for item in items}
    passed_over = scanned.all_passed_over()
    for file in _files(folder):
        passed_over[kind_of_file(file.name)] -= 1
    passed_over["image{s} without a row in the metadata"] = sum(image not in taken for image in scanned.every_image)
    note = describe_passed_over(+passed_over)
    return (note,) if note else ()


def _files(folder: Path) -> Iterator[Path]:
    for each in dataset_folders(folder):
        yield from (each / name for name in _NAMES if os.path.isfile(each / name))


def _names_files(column: str) -> bool:
    return column == "file_name" or column.endswith("_file_name")


def _below(prefix: str, path: str | None) -> str | None:
    return path if path is None or prefix == os.curdir or os.path.isabs(path) else f"{prefix}/{path}"


def _splits(paths: Cells) -> Cells:
    """The folders of splits through which paths lead; empty if none does."""
    folders = [path.replace("\\", "/").split("/")[:-1] if path else [] for path in paths]
    found = [next(filter(split_named, own), None) for own in folders]
    return found if any(found) else []


def _features(tables: Sequence[Table]) -> dict[str, str]:
    return {column: feature for table in tables for column, feature in table.features.items()}


def _has_class_folders(folder: Path) -> bool:
    """Whether a folder holds several folders that are no splits."""
    with os.scandir(folder) as entries:
        own = [each.name for each in entries if each.is_dir() and not is_helper(each.name)]
    return sum(split_named(name) is None for name in own) > 1
