"""The paths of a manifest: where each image is, below the image root."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from .listing_options import ListingOptions
from .manifest_table import Table
from .scan import is_plain, readable

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# With a larger share of missing files, the root is probably another folder; fewer are left out as unreadable.
_MAX_MISSING = 0.1


def place_paths(table: Table, paths: Sequence[str], root: Path, options: ListingOptions) -> tuple[list[str], list[str]]:
    """Place paths below a root.

    Args:
        table: Table of the paths, whose rows the faults name.
        paths: Paths as the table has them.
        root: Folder from which they start, absolute.
        options: Options that say whether they may lead outside.

    Returns:
        Each path below the root, with slashes, or as it leads outside; and the faults, one for each kind.
    """
    names = [_below(path, str(root)) for path in paths]
    shown = readable(str(root))
    kinds: tuple[tuple[Callable[[str, str], bool], str, str], ...] = (
        (lambda path, _: _URL.match(path) is not None, "is a URL, not a file", "Download the images, and list them."),
        (lambda path, _: not is_plain(path), "has a line break or a control character", "Rename the file."),
        (
            lambda _, name: not options.allow_outside and _is_outside(name),
            f"is outside {shown}",
            "Name a folder above all images with --image-root DIR, or if you trust the manifest: --allow-outside",
        ),
        (lambda _, name: _is_no_file(root / name), f"in {shown} is no file", "Write the path of an image."),
    )
    faults = []
    for is_wrong, what, remedy in kinds:
        if wrong := [row for row, pair in enumerate(zip(paths, names, strict=True)) if is_wrong(*pair)]:
            first = readable(paths[wrong[0]])
            faults.append(f"{table.name}: the path '{first}' ({table.places(wrong)}) {what}. {remedy}")
    return names, faults or _missing(table, paths, names, root)


def _missing(table: Table, paths: Sequence[str], names: Sequence[str], root: Path) -> list[str]:
    gone = [row for row, name in enumerate(names) if not os.path.lexists(root / name)]
    if len(gone) <= _MAX_MISSING * len(names):
        return []
    return [
        f"{table.name}: {len(gone):,} of {len(names):,} files are not in {readable(str(root))}, such as "
        f"{paths[gone[0]]!r} ({table.places(gone)}). Name the folder from which the paths start: --image-root DIR"
    ]


def _below(path: str, root: str) -> str:
    """A path relative to the root, with slashes; an absolute path that leads outside stays absolute."""
    if not is_plain(path):
        return path
    if "\\" in path and not os.path.lexists(os.path.join(root, path)):
        path = path.replace("\\", "/")
    if not os.path.isabs(path):
        return Path(os.path.normpath(path)).as_posix()
    for place in (
        os.path.normpath(path),
        os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)),
    ):
        relative = os.path.relpath(place, root)
        if not _is_outside(relative):
            return Path(relative).as_posix()
    return Path(os.path.normpath(path)).as_posix()


def _is_outside(name: str) -> bool:
    return os.path.isabs(name) or name.split("/")[0] == os.pardir


def _is_no_file(path: Path) -> bool:
    return os.path.exists(path) and not os.path.isfile(path)
