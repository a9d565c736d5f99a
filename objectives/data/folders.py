"""Image folders: one folder per class, with or without folders of splits above them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import InvalidInputError
from .decoding import IMAGE_SUFFIXES
from .listing import Item, Listing, sorted_by_name

# Folder names that people use for the splits.
_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


def list_folder(root: Path) -> Listing:
    """List the images of a folder; see :func:`list_source`.

    Raises:
        InvalidInputError: The folder does not exist, cannot be read, or has another layout.
    """
    if not root.exists():
        raise InvalidInputError(
            f"No such folder: {root}.{_nearest(root)} "
            "Name a folder of class folders, torchvision:NAME or sklearn:digits."
        )
    if not root.is_dir():
        raise InvalidInputError(f"{root} is a file. Name the folder that holds the class folders.")
    parts = _split_folders(root) or {None: root}
    members = {split: {cls.name: _images_below(cls) for cls in _subfolders(part)} for split, part in parts.items()}
    classes = tuple(sorted(set().union(*members.values())))
    if faults := _member_faults(parts, members, classes):
        raise InvalidInputError(faults)
    items = (
        Item(path.relative_to(root).as_posix(), classes.index(name), split, path)
        for split, in_split in members.items()
        for name, paths in in_split.items()
        for path in paths
    )
    return Listing(root.resolve().name, classes, sorted_by_name(items))


def _nearest(missing: Path) -> str:
    """A hint at the sibling of a missing folder that the user may have meant."""
    beside = _subfolders(missing.parent) if missing.parent.is_dir() else []
    near = difflib.get_close_matches(missing.name, [folder.name for folder in beside], n=1)
    return f" Did you mean {missing.parent / near[0]}?" if near else ""


def _split_folders(root: Path) -> dict[str | None, Path]:
    """The folders of the splits, by split; empty where ``root`` holds class folders."""
    folders = _subfolders(root)
    splits = [folder for folder in folders if folder.name.lower() in _SPLIT_NAMES]
    others = [folder for folder in folders if folder not in splits and _images_below(folder)]
    # A class may have the name of a split: car/ plane/ train/.
    if others and all(_holds_images(folder) for folder in splits):
        return {}
    if splits and (faults := _layout_faults(root, splits, others)):
        raise InvalidInputError(faults)
    return {_SPLIT_NAMES[folder.name.lower()]: folder for folder in splits}


def _layout_faults(root: Path, splits: list[Path], others: list[Path]) -> list[str]:
    faults = []
    names: dict[str, list[str]] = {}
    for folder in splits:
        names.setdefault(_SPLIT_NAMES[folder.name.lower()], []).append(f"{folder.name}/")
    if "train" not in names:
        found = " and ".join(f"{folder.name}/" for folder in splits)
        faults.append(f"{root} has {found} but no train/. Add train/ with the same class folders.")
    faults += [
        f"{root} has {' and '.join(same)}, which both mean {meaning}. Keep one of them."
        for meaning, same in names.items()
        if len(same) > 1
    ]
    if others:
        strangers = ", ".join(f"{folder.name}/" for folder in others)
        faults.append(f"{root} has {strangers} beside split folders. Keep either class folders or train/ val/ test/.")
    return faults


def _member_faults(
    parts: Mapping[str | None, Path], members: Mapping[str | None, Mapping[str, list[Path]]], classes: Sequence[str]
) -> list[str]:
    faults = [_nothing_in(part) for split, part in parts.items() if not any(members[split].values())]
    return faults or [
        f"Class {name!r} has no folder in {part}, but has one in another split. Every split needs every class."
        for split, part in parts.items()
        for name in classes
        if name not in members[split]
    ]


def _nothing_in(folder: Path) -> str:
    if _holds_images(folder):
        return f"{folder} holds images but no class folders. Put the images of each class into their own folder."
    suffixes = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return f"{folder} holds no images. Name a folder with one folder of images per class ({suffixes})."


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidInputError(f"Cannot read the folder {folder}: {error.strerror}.") from None


def _subfolders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir()]


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is an image by its name. A dangling link counts, so that it is reported; a pipe does not, since
    reading it would hang.
    """
    if os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _holds_images(folder: Path) -> bool:
    return any(_is_image(entry) for entry in _entries(folder))


def _images_below(folder: Path, above: frozenset[str] = frozenset()) -> list[Path]:
    """Images at any depth.

    Args:
        folder: Folder to search.
        above: Real paths of the folders above it; a link back to one of them is not followed.
    """
    if (real := os.path.realpath(folder)) in above:
        return []
    found: list[Path] = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += _images_below(Path(entry.path), above | {real})
        elif _is_image(entry):
            found.append(Path(entry.path))
    return found


def images_below(folder: Path) -> list[Path]:
    """The images of a folder at any depth, by name.

    Raises:
        InvalidInputError: The folder cannot be read.
    """
    return _images_below(folder)
