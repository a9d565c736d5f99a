"""Image folders: one folder per class, with or without folders of splits above them."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InvalidInputError
from .decoding import IMAGE_SUFFIXES
from .layouts import Parts, find_parts
from .listing import Item, Listing, sorted_by_name
from .scan import Folder, describe_passed_over, is_plain, readable, scan_folder

# Class folders of each split, by class.
_Members = Mapping[str | None, Mapping[str, Folder]]


def list_folder(root: Path) -> Listing:
    """List the images of a folder; see :func:`list_source`.

    Raises:
        InvalidInputError: The folder does not exist, cannot be read, or has another layout.
    """
    if not os.path.exists(root):
        raise InvalidInputError(
            f"No such folder: {readable(str(root))}.{_nearest(root)} "
            "Name a folder of class folders, torchvision:NAME or sklearn:digits."
        )
    if not os.path.isdir(root):
        raise InvalidInputError(f"{root} is a file. Name the folder that holds the class folders.")
    if not is_plain(str(root.resolve())):
        raise InvalidInputError(
            f"The path {readable(str(root.resolve()))} has a line break, a control character or bytes that are no "
            "UTF-8. Rename the folder."
        )
    scanned = scan_folder(root)
    parts = find_parts(scanned)
    if faults := [fault for part in parts.values() for fault in _name_faults(part)]:
        raise InvalidInputError(faults)
    members = {split: {folder.name: folder for folder in part.folders} for split, part in parts.items()}
    classes = tuple(sorted(set().union(*members.values())))
    if faults := _member_faults(parts, members, classes):
        raise InvalidInputError(faults)
    items = [
        Item(readable(path.relative_to(root).as_posix()), classes.index(name), split, path)
        for split, in_split in members.items()
        for name, folder in in_split.items()
        for path in folder.every_image
    ]
    return Listing(root.resolve().name, classes, sorted_by_name(items), _notes(root, scanned, parts, len(items)))


def _notes(root: Path, scanned: Folder, parts: Parts, taken: int) -> tuple[str, ...]:
    """What a user may not expect: where the classes were found, and what was not taken."""
    passed_over: Counter[str] = scanned.all_passed_over()
    if beside := len(scanned.every_image) - taken:
        passed_over["image{s} beside the class folders"] = beside
    top = parts.get(None)
    found = f"the classes are the folders of {top.path}" if top is not None and top.path != root else ""
    return tuple(note for note in (found, describe_passed_over(passed_over)) if note)


def _nearest(missing: Path) -> str:
    """A hint at the sibling of a missing folder that the user may have meant."""
    try:
        beside = [folder.name for folder in missing.parent.iterdir() if folder.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(missing.name, beside, n=1)
    return f" Did you mean {missing.parent / near[0]}?" if near else ""


def _name_faults(part: Folder) -> list[str]:
    """Faults of the names of class folders, which go into files, tables and pages."""
    where, names = readable(str(part.path)), Counter(folder.name for folder in part.folders)
    folded = Counter(name.casefold() for name in names)
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
    for same in (key for key, count in folded.items() if count > 1):
        alike = sorted(name for name in names if name.casefold() == same)
        # Letters are classes of their own: a/ A/.
        if all(len(name) > 1 for name in alike):
            faults.append(
                f"{where} has {' and '.join(f'{name}/' for name in alike)}, whose names differ in case alone. "
                "If they are one class, move the images into one folder; else give them names that differ."
            )
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
        return f"{folder.path} holds images but no class folders. Put the images of each class into their own folder."
    suffixes = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return f"{folder.path} holds no images. Name a folder with one folder of images per class ({suffixes})."


def images_below(folder: Path) -> list[Path]:
    """Return the images of a folder at any depth, by name.

    Raises:
        InvalidInputError: The folder cannot be read.
    """
    return list(scan_folder(folder).every_image)
