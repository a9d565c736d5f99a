"""The images of a manifest: their names, and where they are, in files below the image root or in the table itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .listing import Embedded
from .listing_options import ListingOptions
from .manifest_paths import place_paths
from .manifest_table import Table
from .scan import is_plain


def place_images(
    table: Table, column: str, paths: Sequence[str], folders: Sequence[str], root: Path, options: ListingOptions
) -> tuple[list[str], list[Path | Embedded], list[str]]:
    """Find the images of a column.

    Args:
        table: Table, whose rows the faults name.
        column: Column of images or of their paths.
        paths: Its cells.
        folders: Folders in which ``datasets``' ``imagefolder`` would have found the rows: split and class.
        root: Folder from which paths start, absolute.
        options: Options that say whether they may lead outside.

    Returns:
        Names and contents of the images, and the faults, one for each kind. The name of an image in the table is the
        path that it has in such folders, so that the folders and what ``datasets`` saves of them are one dataset.
    """
    cells = table.images[column]() if column in table.images else None
    if cells is None or not any(cells.held):
        names, faults = place_paths(table, paths, root, options)
        return names, [root / name for name in names], faults
    if lost := [row for row, held in enumerate(cells.held) if not held]:
        fault = (
            f"{table.name}: no image in {table.places(lost)}, column {column!r}, only a path, while other rows hold "
            "theirs. Remove them, or save the dataset again with save_to_disk, which takes the images in."
        )
        return [], [], [fault]
    return _names(paths, folders), [cells.content(row) for row in range(len(paths))], []


def _names(paths: Sequence[str], folders: Sequence[str]) -> list[str]:
    files = [path.rpartition("/")[2] for path in paths]
    files = [file if file and is_plain(file) else f"{row:07d}" for row, file in enumerate(files)]
    names = [f"{folder}/{file}" for folder, file in zip(folders, files, strict=True)]
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{folder}/{row:07d}/{file}"
        for row, (name, folder, file) in enumerate(zip(names, folders, files, strict=True))
    ]
