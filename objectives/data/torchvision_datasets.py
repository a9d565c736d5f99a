"""torchvision's classification datasets, with their published splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image
from torchvision import datasets

from ..errors import InvalidInputError, unknown_name
from .listing import Item, Listing, sorted_by_name
from .splits import SPLITS

# Arguments that open each split of a torchvision dataset; the split None is the whole of a dataset without splits.
_Openings = Mapping[str | None, Mapping[str, Any]]
_WHOLE: _Openings = {None: {}}
_TRAIN_FLAG: _Openings = {"train": {"train": True}, "test": {"train": False}}
_TRAIN_TEST: _Openings = {name: {"split": name} for name in ("train", "test")}
_TRAIN_VAL_TEST: _Openings = {name: {"split": name} for name in SPLITS}
PUBLISHED: dict[str, _Openings] = {
    **dict.fromkeys(("CIFAR10", "CIFAR100", "MNIST", "FashionMNIST", "KMNIST", "USPS"), _TRAIN_FLAG),
    **dict.fromkeys(("SVHN", "STL10", "GTSRB", "Food101"), _TRAIN_TEST),
    **dict.fromkeys(("DTD", "Flowers102", "FGVCAircraft", "RenderedSST2"), _TRAIN_VAL_TEST),
    **dict.fromkeys(("EuroSAT", "Caltech101", "Caltech256", "SUN397", "SEMEION"), _WHOLE),
    "EMNIST": {name: {"split": "balanced", "train": name == "train"} for name in ("train", "test")},
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Country211": {"train": {"split": "train"}, "val": {"split": "valid"}, "test": {"split": "test"}},
    # Its authors publish results on the split that they call val.
    "Imagenette": {"train": {"split": "train"}, "test": {"split": "val"}},
}


def list_published(name: str, download_dir: Path) -> Listing:
    """List a dataset of torchvision, and download it if it is not in ``download_dir`` yet.

    Args:
        name: Name of the dataset in ``torchvision.datasets``, in any case.
        download_dir: Folder of downloaded datasets.

    Raises:
        InvalidInputError: The name is unknown, or the dataset cannot be downloaded.
    """
    known = {spelling.lower(): spelling for spelling in PUBLISHED}
    if name.lower() not in known:
        valid = [f"torchvision:{spelling}" for spelling in PUBLISHED]
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
    return Listing(f"torchvision:{name}", classes, sorted_by_name(items))


def _download(name: str, download_dir: Path) -> dict[str | None, Any]:
    root = download_dir / name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(download_dir / f"{name}.lock"):
            openings = PUBLISHED[name].items()
            return {split: getattr(datasets, name)(root, download=True, **options) for split, options in openings}
    except Exception as error:  # errors of network, disk, checksums and missing packages come through unwrapped
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInputError(
            f"Cannot get torchvision:{name}: {reason}. Check the connection and retry, or put the files that "
            f"torchvision.datasets.{name} expects into {root}, or name a folder of class folders."
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
    """Path of the image where the dataset consists of files, so that they are read like a user's; else a function."""
    for attribute in ("_image_files", "_images"):
        if files := getattr(dataset, attribute, None):
            return Path(files[index])
    for attribute in ("samples", "_samples"):
        if samples := getattr(dataset, attribute, None):
            return Path(samples[index][0])
    return partial(_nth_image, dataset, index)


def _nth_image(dataset: Any, index: int) -> Image.Image:
    return dataset[index][0]
