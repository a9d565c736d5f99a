"""Where images come from: what the user calls a dataset becomes a list of labelled images, still undecoded."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image
from torchvision import datasets

from .errors import InvalidInputError, unknown_name
from .images import IMAGE_SUFFIXES
from .splits import SPLITS, split_faults

# What people call the folders of a split.
_SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
# A torchvision set: the arguments that open each of its splits; None where it has none.
_Openings = Mapping[str | None, Mapping[str, Any]]
_WHOLE: _Openings = {None: {}}
_TRAIN_FLAG: _Openings = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST: _Openings = {name: {"split": name} for name in ("train", "test")}
_TRAIN_VAL_TEST: _Openings = {name: {"split": name} for name in SPLITS}
_TORCHVISION: dict[str, _Openings] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST", "USPS"), _TRAIN_FLAG),
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "Food101"), _TRAIN_TEST),
    **dict.fromkeys(("DTD", "Flowers102", "FGVCAircraft", "RenderedSST2"), _TRAIN_VAL_TEST),
    **dict.fromkeys(("EuroSAT", "Caltech101", "Caltech256", "SUN397", "SEMEION"), _WHOLE),
    "EMNIST": {name: {"split": "balanced", "train": name == "train"} for name in ("train", "test")},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Country211": {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
    # What its authors call val is what results are published on.
    "Imagenette": {"train": {"split": "train"}, "test": {"split": "val"}},
}


@dataclass(frozen=True)
class Item:
    """One labelled image.

    Attributes:
        name: Unique within its listing: the path below the folder, with slashes, or a made-up one.
        label: Index into the listing's classes.
        split: ``"train"``, ``"val"``, ``"test"``, or ``None`` where the source has no splits.
        content: The file, or a function that gives the image.
    """

    name: str
    label: int
    split: str | None
    content: Path | Callable[[], Image.Image]

    def read(self) -> bytes | Image.Image:
        """The undecoded file, or the image.

        Raises:
            OSError: The file cannot be read.
        """
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content()


@dataclass(frozen=True)
class Listing:
    """A dataset before decoding.

    Attributes:
        name: For people.
        classes: Names, in the order of the labels.
        items: Sorted by name.
    """

    name: str
    classes: tuple[str, ...]
    items: tuple[Item, ...]

    def faults(self) -> list[str]:
        """What makes the listing unfit for a study, one message each."""
        if len(self.classes) < 2:
            only = ", ".join(self.classes)
            return [f"{self.name} has the single class {only!r}. Add a folder for each other class: 2 are the least."]
        return split_faults(self.classes, [item.split for item in self.items], [item.label for item in self.items])


def list_source(source: str, *, download_dir: Path) -> Listing:
    """List the labelled images of a dataset.

    Args:
        source: One of

            - a folder of class folders, or of ``train/``, ``val/`` and ``test/`` with class folders in each (``val``
              and ``test`` may be missing; ``training``, ``valid``, ``validation`` and ``testing`` are understood);
            - ``sklearn:digits``: scikit-learn's 8 x 8 digits; ``sklearn:digits[5-9]`` or ``[0,1,4]`` takes some
              classes only; ``@200`` at the end leaves 200 images, stratified, for training and validation together and
              makes all the others the test split;
            - ``torchvision:NAME``: a classification set of torchvision with the splits it was published with.
        download_dir: Where torchvision keeps what it downloads.

    Raises:
        InvalidInputError: No such dataset, or one that no study can use; all faults at once.
    """
    prefix, colon, name = source.partition(":")
    if colon and prefix == "torchvision":
        listing = _list_torchvision(name, download_dir)
    elif colon and prefix == "sklearn":
        listing = _list_digits(name)
    elif colon and re.fullmatch(r"[A-Za-z]\w+", prefix) and not Path(source).exists():
        raise InvalidInputError(
            unknown_name("dataset prefix", prefix, ("torchvision", "sklearn")) + " Or give a folder."
        )
    else:
        listing = _list_folder(Path(source).expanduser())
    if faults := listing.faults():
        raise InvalidInputError(faults)
    return listing


def _list_folder(root: Path) -> Listing:
    if not root.exists():
        raise InvalidInputError(
            f"No such folder: {root}. Give a folder of class folders, torchvision:NAME or sklearn:digits."
        )
    if not root.is_dir():
        raise InvalidInputError(f"{root} is a file. Give the folder that holds the class folders.")
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
    return Listing(root.resolve().name, classes, _sorted_by_name(items))


def _split_folders(root: Path) -> dict[str | None, Path]:
    """The folders of the splits by what they mean; empty where ``root`` holds class folders."""
    folders = _subfolders(root)
    splits = [folder for folder in folders if folder.name.lower() in _SPLIT_NAMES]
    others = [folder for folder in folders if folder not in splits and _images_below(folder)]
    # Class folders may happen to have such a name: car/ plane/ train/.
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
        f"Class {name!r} has no folder in {part}, but in another split. Every split needs every class."
        for split, part in parts.items()
        for name in classes
        if name not in members[split]
    ]


def _nothing_in(folder: Path) -> str:
    if _holds_images(folder):
        return f"{folder} holds images but no class folders. Put the images of each class into a folder of its own."
    suffixes = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
    return f"{folder} holds no images. Give a folder with one folder of images per class ({suffixes})."


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise InvalidInputError(f"Cannot read the folder {folder}: {error.strerror}.") from None


def _subfolders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if entry.is_dir()]


def _is_image(entry: os.DirEntry[str]) -> bool:
    """By its name; a dangling link counts, so that it is reported, a pipe does not, since reading it would hang."""
    if os.path.splitext(entry.name)[1].lower() not in IMAGE_SUFFIXES:
        return False
    return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))


def _holds_images(folder: Path) -> bool:
    return any(_is_image(entry) for entry in _entries(folder))


def _images_below(folder: Path, above: frozenset[str] = frozenset()) -> list[Path]:
    """Images at any depth. ``above``: the real folders on the way here, which a link back to one of them repeats."""
    if (real := os.path.realpath(folder)) in above:
        return []
    found: list[Path] = []
    for entry in _entries(folder):
        if entry.is_dir():
            found += _images_below(Path(entry.path), above | {real})
        elif _is_image(entry):
            found.append(Path(entry.path))
    return found


def _sorted_by_name(items: Iterator[Item]) -> tuple[Item, ...]:
    return tuple(sorted(items, key=lambda item: item.name))


def _list_digits(name: str) -> Listing:
    from sklearn.datasets import load_digits  # slow to import, and rarely needed

    parts = re.fullmatch(r"(?P<set>\w*)(\[(?P<classes>[^\]]*)\])?(@(?P<limit>.+))?", name)
    if parts is None or parts["set"] != "digits":
        raise InvalidInputError(
            unknown_name("dataset", f"sklearn:{name}", ("sklearn:digits", "sklearn:digits[5-9]@200"))
        )
    chosen = _parse_digits(name, parts["classes"])
    bunch: Any = load_digits()
    rows = np.flatnonzero(np.isin(bunch.target, chosen))
    labels = np.searchsorted(chosen, bunch.target[rows])
    splits = _limited(name, labels, len(chosen), parts["limit"])
    pixels = np.round(bunch.images[rows] * (255 / 16)).astype(np.uint8)
    items = (
        Item(f"{row:04d}", int(label), split, partial(Image.fromarray, image))
        for row, label, split, image in zip(rows, labels, splits, pixels, strict=True)
    )
    return Listing(f"sklearn:{name}", tuple(str(digit) for digit in chosen), tuple(items))


def _parse_digits(name: str, text: str | None) -> list[int]:
    if text is None:
        return list(range(10))
    chosen: set[int] = set()
    for part in text.split(","):
        span = re.fullmatch(r"\s*([0-9])\s*(?:-\s*([0-9])\s*)?", part)
        if span is None or (span[2] or span[1]) < span[1]:
            raise InvalidInputError(
                f"sklearn:{name}: {part!r} is no digit or range. Write for example [5-9] or [0,1,4]."
            )
        chosen.update(range(int(span[1]), int(span[2] or span[1]) + 1))
    return sorted(chosen)


def _limited(name: str, labels: np.ndarray, classes: int, limit: str | None) -> list[str | None]:
    """``@N``: N images are given to train, the rest to test; validation is then carved out of the N."""
    if limit is None:
        return [None] * len(labels)
    from sklearn.model_selection import train_test_split

    low, high = 2 * classes, len(labels) - classes
    if not limit.isdecimal() or not low <= int(limit) <= high:
        raise InvalidInputError(
            f"sklearn:{name}: @{limit} is not possible. Give a number from {low} to {high} after the @."
        )
    positions = np.arange(len(labels))
    taught, _ = train_test_split(positions, train_size=int(limit), stratify=labels, random_state=0)
    return np.where(np.isin(positions, taught), "train", "test").tolist()


def _list_torchvision(name: str, download_dir: Path) -> Listing:
    known = {spelling.lower(): spelling for spelling in _TORCHVISION}
    if name.lower() not in known:
        valid = [f"torchvision:{spelling}" for spelling in _TORCHVISION]
        raise InvalidInputError(unknown_name("dataset", f"torchvision:{name}", valid))
    name = known[name.lower()]
    opened = _download(name, download_dir)
    labels = {split: _labels_of(dataset) for split, dataset in opened.items()}
    present = np.unique(np.concatenate(list(labels.values())))
    classes = _class_names(next(iter(opened.values())), present)
    items = (
        Item(f"{split or 'all'}/{index:07d}", int(label), split, _content_of(dataset, index))
        for split, dataset in opened.items()
        for index, label in enumerate(np.searchsorted(present, labels[split]))
    )
    return Listing(f"torchvision:{name}", classes, _sorted_by_name(items))


def _download(name: str, download_dir: Path) -> dict[str | None, Any]:
    root = download_dir / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(download_dir / f"{name}.lock"):
            openings = _TORCHVISION[name].items()
            return {split: getattr(datasets, name)(root, download=True, **options) for split, options in openings}
    except Exception as error:  # network, disk, checksums, a missing helper package: torchvision wraps none of them
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"Cannot get torchvision:{name}: {reason}. Check the connection and try again, or put the files that "
            f"torchvision.datasets.{name} expects into {root}, or give a folder of class folders."
        ) from error


def _labels_of(dataset: Any) -> np.ndarray:
    for attribute in ("targets", "labels", "_labels", "y"):
        if (labels := getattr(dataset, attribute, None)) is not None:
            return np.asarray(labels, dtype=np.int64)
    return np.array([label for _, label in dataset._samples], dtype=np.int64)


def _class_names(dataset: Any, present: np.ndarray) -> tuple[str, ...]:
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if names is None:
        return tuple(str(value) for value in present)
    chosen = [names[value] for value in present]
    return tuple(name if isinstance(name, str) else name[0] for name in chosen)


def _content_of(dataset: Any, index: int) -> Path | Callable[[], Image.Image]:
    """The file where the set is one of files, so that it is read as a user's own would be."""
    for attribute in ("_image_files", "_images"):
        if files := getattr(dataset, attribute, None):
            return Path(files[index])
    for attribute in ("samples", "_samples"):
        if samples := getattr(dataset, attribute, None):
            return Path(samples[index][0])
    return partial(_nth_image, dataset, index)


def _nth_image(dataset: Any, index: int) -> Image.Image:
    return dataset[index][0]
