"""Dataset sources: from the name of a dataset to a list of labeled, undecoded images."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidInputError, unknown_name
from .archives import ARCHIVE_SUFFIXES, list_archive
from .folders import list_folder
from .groups import group_by_regex
from .listing import Listing
from .listing_options import ListingOptions, option_name
from .manifests import holds_labels, list_manifest
from .sklearn_digits import list_digits
from .torchvision_datasets import list_published

_OF_MANIFESTS = frozenset(("path_column", "label_column", "split_column", "group", "image_root", "allow_outside"))
_OF_FILES = frozenset(("nested_classes", "group_regex", "channels"))


@dataclass(frozen=True)
class _Source:
    """A kind of dataset.

    Attributes:
        title: What it is, in words.
        takes: Fields of :class:`ListingOptions` that it takes.
        listed: Lists the dataset of a name, with options, in a folder of downloads.
    """

    title: str
    takes: frozenset[str]
    listed: Callable[[str, ListingOptions, Path], Listing]


_FOLDER = _Source(
    "a folder of class folders",
    _OF_FILES,
    lambda source, options, _: list_folder(
        Path(os.path.expanduser(source)), nested=options.nested_classes, also=options.suffixes
    ),
)
_MANIFEST = _Source(
    "a table of paths and labels",
    _OF_MANIFESTS | {"group_regex", "channels"},
    list_manifest,
)
_ARCHIVE = _Source(
    "an archive of class folders",
    _OF_FILES,
    lambda source, options, downloads: list_archive(
        source, downloads, nested=options.nested_classes, also=options.suffixes
    ),
)
_BUILT_IN = {
    "torchvision": _Source(
        "a dataset of torchvision",
        frozenset(),
        lambda source, _, downloads: list_published(source.partition(":")[2], downloads),
    ),
    "sklearn": _Source(
        "a dataset of scikit-learn", frozenset(), lambda source, *_: list_digits(source.partition(":")[2])
    ),
}


def list_source(source: str, options: ListingOptions = ListingOptions(), *, download_dir: Path) -> Listing:  # noqa: B008
    """List the labeled images of a dataset.

    Args:
        source: One of

            - a folder of class folders, or of ``train/``, ``val/`` and ``test/`` with class folders in each (``val``
              and ``test`` may be missing; ``training_set``, ``valid``, ``dev``, ``testing`` and the like mean them);
            - a ZIP or TAR file of such folders;
            - a folder of images with ``metadata.csv``, ``.jsonl`` or ``.parquet``, in it or in each folder of a split,
              as ``imagefolder`` of Hugging Face's ``datasets`` has it: columns of ``file_name`` and of labels;
            - a CSV, TSV, JSON Lines or Parquet file with columns of paths and labels, and perhaps of splits and groups;
              a column of a Parquet file may hold the images themselves;
            - a folder that ``save_to_disk`` of ``datasets`` wrote, one that ``load_dataset`` keeps in its cache, or one
              of Parquet files as in a repository of the Hub, with images and labels in its columns, and splits by the
              names of its files;
            - ``sklearn:digits``: scikit-learn's 8 x 8 digits; ``sklearn:digits[5-9]`` or ``[0,1,4]`` selects classes;
              ``@200`` at the end gives 200 images, stratified, to training and validation and all others to the test
              split;
            - ``torchvision:NAME``: a classification dataset of torchvision with its published splits.
        options: What a folder or table does not say of itself.
        download_dir: Folder for torchvision's downloads, and for images that are unpacked to be read.

    Raises:
        InvalidInputError: There is no such dataset, or no study can use it; all faults at once.

    Example:
        >>> from pathlib import Path
        >>> from frostline.objectives.data import list_source
        >>> len(list_source("sklearn:digits", download_dir=Path("downloads")).items)
        1797
    """
    kind = _kind_of(source, options)
    if faults := _option_faults(kind, source, options):
        raise InvalidInputError(faults)
    listing = kind.listed(source, options, download_dir)
    if options.group_regex:
        listing = group_by_regex(listing, options.group_regex)
    if faults := listing.faults():
        raise InvalidInputError(faults)
    return listing


def _kind_of(source: str, options: ListingOptions) -> _Source:
    prefix, colon, _ = source.partition(":")
    if colon and prefix in _BUILT_IN:
        return _BUILT_IN[prefix]
    path = os.path.expanduser(source)
    if colon and re.fullmatch(r"[A-Za-z]\w+", prefix) and not os.path.exists(source):
        raise InvalidInputError(
            unknown_name("dataset prefix", prefix, _BUILT_IN) + " Or name a folder, or a CSV or Parquet file."
        )
    if path.lower().endswith(ARCHIVE_SUFFIXES) and not os.path.isdir(path):
        return _ARCHIVE
    return _MANIFEST if holds_labels(source, options) else _FOLDER


def _option_faults(kind: _Source, source: str, options: ListingOptions) -> list[str]:
    given = options.given()
    if kind is _FOLDER and not os.path.exists(os.path.expanduser(source)):
        # It may have been meant as something else.
        return []
    faults = [
        f"{option_name(field)} does not go with {source}, {kind.title}. Leave it out"
        f"{', or name a CSV or Parquet file' if field in _OF_MANIFESTS else ''}."
        for field in given
        if field not in kind.takes
    ]
    if {"group", "group_regex"} <= kind.takes & given.keys():
        faults.append("--group and --group-regex cannot be combined: leave one out.")
    return faults
