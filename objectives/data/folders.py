"""Image folders: one folder per class, with or without folders of splits above them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import InvalidInputError
from .decoding import IMAGE_SUFFIXES
from .layouts import Parts, find_parts
from .listing import Embedded, Item, Listing, alike_but_for_case, sorted_by_name
from .listing_options import ARRAY_SUFFIXES
from .manifest_files import SUFFIXES as MANIFEST_SUFFIXES
from .scan import Folder, describe_passed_over, is_plain, kind_of_file, nearest_beside, readable, scan_folder

# Images of each class of each split.
_Members = Mapping[str | None, Mapping[str, Sequence[Path]]]


def list_folder(root: Path, *, nested: bool = False, also: frozenset[str] = frozenset()) -> Listing:
    """List the images of a folder; see :func:`list_source`.

    Args:
        root: Folder to list.
        nested: Whether each folder that holds images is a class, named by its path, instead of the top ones alone.
        also: Suffixes of files that are images too.

    Raises:
        InvalidInputError: The folder does not exist, cannot be read, or has another layout.
    """
    if not os.path.exists(root):
        raise InvalidInputError(
            f"No such folder: {readable(str(root))}.{nearest_beside(root, MANIFEST_SUFFIXES)} "
            "Name a folder of class folders, a CSV or Parquet file, torchvision:NAME or sklearn:digits."
        )
    if not os.path.isdir(root):
        kinds = ", ".join(MANIFEST_SUFFIXES)
        raise InvalidInputError(
            f"{readable(str(root))} is a file. Name the folder that holds the class folders, or a table of paths and "
            f"labels ({kinds})."
        )
    if not is_plain(str(root.resolve())):
        raise InvalidInputError(
            f"The path {readable(str(root.resolve()))} has a line break, a control character or bytes that are no "
            "UTF-8. Rename the folder."
        )
    return list_scanned(root.resolve().name, scan_folder(root, also), lambda path: path, nested=nested)


def list_scanned(
    name: str, scanned: Folder, content: Callable[[Path], Path | Embedded], *, nested: bool = False
) -> Listing:
    """List the images of a folder that was walked.

    Args:
        name: Name of the dataset, for people.
        scanned: Folder, with everything below it.
        content: Gives the content of an image.
        nested: Whether each folder that holds images is a class.

    Raises:
        InvalidInputError: It has another layout.
    """
    root, parts = scanned.path, find_parts(scanned, nested=nested)
    found = {split: _class_folders(part, nested=nested) for split, part in parts.items()}
    if faults := [fault for split, part in parts.items() for fault in _name_faults(part, found[split])]:
        raise InvalidInputError(faults)
    members: _Members = {split: dict(folders) for split, folders in found.items()}
    classes = tuple(sorted(set().union(*members.values())))
    if faults := _member_faults(parts, members, classes):
        raise InvalidInputError(faults)
    items = [
        Item(readable(path.relative_to(root).as_posix()), classes.index(label), split, content(path))
        for split, in_split in members.items()
        for label, images in in_split.items()
        for path in images
    ]
    return Listing(name, classes, sorted_by_name(items), _notes(root, scanned, parts, len(items)))


def _class_folders(part: Folder, *, nested: bool) -> list[tuple[str, Sequence[Path]]]:
    """Name and images of each class folder; of nested ones, the path below ``part`` is the name."""
    if not nested:
        return [(folder.name, folder.every_image) for folder in part.folders]
    below: list[tuple[str, Sequence[Path]]] = []
    for folder in part.folders:
        below += [(folder.name, folder.images)] if folder.images else []
        below += [(f"{folder.name}/{name}", images) for name, images in _class_folders(folder, nested=True)]
    return below


def _notes(root: Path, scanned: Folder, parts: Parts, taken: int) -> tuple[str, ...]:
    """What a user may not expect: where the classes were found, and what was not taken."""
    passed_over: Counter[str] = scanned.all_passed_over()
    if beside := len(scanned.every_image) - taken:
        passed_over["image{s} beside the class folders"] = beside
    top = parts.get(None)
    found = f"the classes are the folders of {top.path}" if top is not None and top.path != root else ""
    return tuple(note for note in (found, describe_passed_over(passed_over)) if note)


def _name_faults(part: Folder, folders: Sequence[tuple[str, Sequence[Path]]]) -> list[str]:
    """Faults of the names of class folders, which go into files, tables and pages."""
    where, names = readable(str(part.path)), Counter(name for name, _ in folders)
    faults = [
        f"The class folder '{readable(name)}' in {where} has a line break, a control character or bytes that are no "
        "UTF-8 in its name. Rename it."
        for name in names
        if not is_plain(name)
    ]
    faults += [
        f"{where} has {count} folders {name!r}, whose names differ in their Unicode form alone. "
        "Move their images into one of them."
        for name, count in names.items()
        if count > 1
    ]
    faults += [
        f"{where} has {' and '.join(f'{name}/' for name in alike)}, whose names differ in case alone. "
        "If they are one class, move the images into one folder; else give them names that differ."
        for alike in alike_but_for_case(names)
    ]
    return faults


def _member_faults(parts: Parts, members: _Members, classes: Sequence[str]) -> list[str]:
    faults = [_nothing_in(part) for part in parts.values() if not any(folder.every_image for folder in part.folders)]
    if len(classes) == 1 and None in parts and not faults:
        only = parts[None].folders[0]
        if len(only.filled) > 1:
            faults.append(
                f"{only.path.parent} has only the folder {only.name}/, with {len(only.filled)} folders in it. "
                f"If those are the classes, name it: {only.path}"
            )
    return faults or [
        f"Class {name!r} has no folder in {part.path}, but has one in another split. Every split needs every class."
        for split, part in parts.items()
        for name in classes
        if name not in members[split]
    ]


def _nothing_in(folder: Folder) -> str:
    if folder.images:
        return (
            f"{folder.path} holds images but no class folders. Put the images of each class into their own folder"
            f"{_or_its_manifest(folder.path)}."
        )
    suffixes = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    arrays = any(folder.all_passed_over()[kind_of_file(f"array{suffix}")] for suffix in ARRAY_SUFFIXES)
    other = " Arrays (.npy) are images of other than 3 channels: add --channels N." if arrays else ""
    return f"{folder.path} holds no images. Name a folder with one folder of images per class ({suffixes}).{other}"


def _or_its_manifest(folder: Path) -> str:
    """A hint at a table in a folder, which may list its images."""
    inside = folder.iterdir() if folder.is_dir() else ()
    tables = sorted(file for file in inside if file.suffix.lower() in MANIFEST_SUFFIXES)
    return f", or name the table that lists them: {readable(str(tables[0]))}" if tables else ""


def images_below(folder: Path, also: frozenset[str] = frozenset()) -> list[Path]:
    """Return the images of a folder at any depth, by name; files of some suffixes are images too.

    Raises:
        InvalidInputError: The folder cannot be read.
    """
    return list(scan_folder(folder, also).every_image)
