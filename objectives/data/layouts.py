"""Layouts of image folders: which folders are the classes, and which are splits above them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..errors import InvalidInputError
from .scan import Folder, readable

# Names that people give to folders of splits, without the words below.
_MEANINGS = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
# Words that say nothing about what a folder holds: training_set, seg_train, images.
_FILLERS = frozenset(
    (
        *("set", "split", "data", "dataset", "folder", "dir", "seg", "samples", "classes", "archive"),
        *("image", "images", "img", "imgs", "photo", "photos", "picture", "pictures", "pics", "jpg", "png", "jpeg"),
    )
)
_GLUED = re.compile(r"(data)?(set|split|data|images)$")
_YEAR = re.compile(r"(19|20)\d\d")

# Folder of each split; the only key of a folder without splits is None.
Parts = dict[str | None, Folder]


def find_parts(root: Folder, *, nested: bool = False) -> Parts:
    """Find the folders that hold the class folders.

    Args:
        root: Folder that the user named.
        nested: Whether class folders may lie in class folders.

    Returns:
        The folder of each split; ``root``, or the folder that doubles it, by None where there are no splits.

    Raises:
        InvalidInputError: The folders look like splits, and it is not clear which.
    """
    top = _innermost(root)
    splits = [folder for folder in top.folders if split_named(folder.name)]
    others = [folder for folder in top.filled if folder not in splits]
    # A class may have the name of a split: car/ plane/ train/.
    if not splits or (others and all(folder.images for folder in splits)):
        if not nested and (fault := _unnamed_splits(top)):
            raise InvalidInputError(fault)
        return {None: top}
    if faults := _layout_faults(top, splits, others):
        raise InvalidInputError(faults)
    return {split_named(folder.name): _innermost(folder) for folder in splits}


def split_named(name: str) -> str | None:
    """The split that a folder's name means; None if it means none.

    >>> from frostline.objectives.data.layouts import split_named
    >>> split_named("Training_Set"), split_named("seg_test"), split_named("dev"), split_named("trains")
    ('train', 'test', 'val', None)
    """
    words = _words(_YEAR.sub("", name))
    return _MEANINGS.get(_GLUED.sub("", words[0])) if len(words) == 1 else None


def _words(name: str) -> list[str]:
    """The words of a name that say something."""
    return [word for word in re.split(r"[\W_]+", name.casefold()) if word and word not in _FILLERS]


def _innermost(folder: Folder) -> Folder:
    """The folder that holds the classes or splits, where one folder alone, that says nothing, holds all of them:
    ``photos/photos/cat``, ``photos/images/cat``, ``archive/train/cat``.
    """
    if len(folder.filled) != 1:
        return folder
    (inner,) = folder.filled
    innermost = _innermost(inner)
    doubled = inner.name.casefold() == folder.name.casefold() or not _words(inner.name)
    above_splits = any(split_named(below.name) == "train" and not below.images for below in inner.filled)
    return innermost if above_splits or (doubled and len(innermost.filled) > 1) else folder


def _layout_faults(root: Folder, splits: Sequence[Folder], others: Sequence[Folder]) -> list[str]:
    faults, shown = [], readable(str(root.path))
    names: dict[str | None, list[str]] = {}
    for folder in splits:
        names.setdefault(split_named(folder.name), []).append(f"{folder.name}/")
    if "train" not in names:
        found = " and ".join(f"{folder.name}/" for folder in splits)
        faults.append(f"{shown} has {found} but no train/. Add train/ with the same class folders.")
    faults += [
        f"{shown} has {' and '.join(same)}, which both mean {meaning}. Keep one of them."
        for meaning, same in names.items()
        if len(same) > 1
    ]
    if others:
        strangers = ", ".join(f"{readable(folder.name)}/" for folder in others)
        faults.append(f"{shown} has {strangers} beside split folders. Keep either class folders or train/ val/ test/.")
    return faults


def _unnamed_splits(root: Folder) -> str | None:
    """What is wrong with folders that all hold folders of the same names: splits of unknown names, or classes above
    their splits.
    """
    tops = root.filled
    if len(tops) < 2 or any(folder.images for folder in tops):
        return None
    shared = sorted(set.intersection(*({below.name for below in folder.filled} for folder in tops)))
    if len(shared) < 2:
        return None
    shown, above = readable(str(root.path)), _listed([folder.name for folder in tops])
    if "train" in map(split_named, shared):
        return (
            f"Each of the folders {above} in {shown} holds {_listed(shared)}. "
            "Put the splits above the classes: train/CLASS, val/CLASS, test/CLASS."
        )
    return (
        f"The folders {above} in {shown} hold folders of the same names ({_listed(shared)}), as splits do. "
        "If they are splits, rename them to train/, val/ and test/. "
        "If they are the classes, put the images of each straight into it. "
        "If each folder that holds images is a class: --nested-classes"
    )


def _listed(names: Sequence[str]) -> str:
    shown = [f"{readable(name)}/" for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
