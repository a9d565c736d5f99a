"""The images of a study with fixed splits: training and validation images for the search, and sealed test images.

The search for faults of the data compares all images, those of the test split too (:meth:`ImageDataset.audited`). That
breaks no seal: it ends in a list for people, and neither a configuration nor a network is chosen by it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..preprocessing import RGB, Preprocessing, plural_channels
from .canvas_reader import Progress
from .channel_counts import tiff_layout
from .dataset_sources import list_source
from .faults import FoundImage
from .image_cache import Decoded, decode_once
from .image_split import ImageSplit, ImageSubset, subset_of
from .listing import Listing
from .listing_options import ListingOptions
from .pixel_scale import PixelScale
from .splits import SPLITS


@dataclass(frozen=True)
class AuditedImages:
    """All images of a dataset, to be searched for faults.

    Attributes:
        whole: All images.
        found: Name, split, label and place of each image, by row.
        digests: SHA-256 of each image's file, by row.
        groups: Group of each image, by row; None without groups.
    """

    whole: ImageSplit
    found: tuple[FoundImage, ...]
    digests: tuple[str, ...]
    groups: tuple[str, ...] | None = None


@dataclass(frozen=True)
class ImageDataset:
    """A decoded dataset with fixed splits. The test images are sealed: see :meth:`open_test`.

    Attributes:
        name: Name of the dataset, for people.
        classes: Class names, in the order of the labels.
        fingerprint: SHA-256 of the contents: names, classes, given splits, groups and bytes of all files, and their
            scale.
        split_fingerprint: SHA-256 of the contents and of the split of each image.
        preprocessing: Geometry of the canvases and statistics of the normalization.
        skipped: Reasons, by name, of the files that do not decode.
        counts: Images per split and class: ``counts["train"]["daisy"]``.
        scale: The values that become white in images of more than 8 bits.
        notes: What a user may not expect of the images, such as files that are not taken; one sentence each.
    """

    name: str
    classes: tuple[str, ...]
    fingerprint: str
    split_fingerprint: str
    preprocessing: Preprocessing
    skipped: dict[str, str]
    counts: dict[str, dict[str, int]]
    scale: PixelScale
    notes: tuple[str, ...]
    _canvas: np.ndarray = field(repr=False, compare=False)
    _labels: np.ndarray = field(repr=False, compare=False)
    _positions: dict[str, np.ndarray] = field(repr=False, compare=False)
    _names: tuple[str, ...] = field(repr=False, compare=False)
    _digests: tuple[str, ...] = field(repr=False, compare=False)
    _groups: tuple[str, ...] | None = field(default=None, repr=False, compare=False)
    _folds: tuple[np.ndarray, ...] = field(default=(), repr=False, compare=False)

    @property
    def fold_sizes(self) -> tuple[int, ...]:
        """Number of images of each fold; empty without folds."""
        return tuple(map(len, self._folds))

    def search_splits(self) -> tuple[ImageSplit, ImageSplit]:
        """Training and validation images: all that the objective of a search may see; with folds, of the first one."""
        return next(iter(self.folds()), None) or (self._split("train"), self._split("val"))

    def folds(self) -> tuple[tuple[ImageSubset, ImageSubset], ...]:
        """Training and validation images of each fold: all other folds, and the fold; empty without folds.

        They are subsets of one split, so that views and features of an image are the same in all folds.
        """
        if not self._folds:
            return ()
        whole = self._images("folds", np.sort(np.concatenate(self._folds)))
        inside = [np.isin(whole.indices, rows) for rows in self._folds]
        return tuple(
            (
                subset_of(whole, np.flatnonzero(~own), f"all but fold {number}"),
                subset_of(whole, np.flatnonzero(own), f"fold {number}"),
            )
            for number, own in enumerate(inside, 1)
        )

    def open_test(self) -> ImageSplit:
        """The test images. Only the finals and a diagnosis after the verdict open them, and record that they did."""
        return self._split("test")

    def audited(self) -> AuditedImages:
        """All images, those of the test split too, for the search for faults of the data alone.

        What it finds is shown to people; no trial and no choice of the search sees it.
        """
        fold_of = {row: number for number, rows in enumerate(self._folds, 1) for row in rows.tolist()}
        found = {
            row: FoundImage(self._names[row], split, int(self._labels[row]), row, position, fold_of.get(row, 0))
            for split, rows in self._positions.items()
            for position, row in enumerate(rows.tolist())
        }
        every = np.arange(len(self._labels))
        return AuditedImages(
            self._images("all", every), tuple(found[row] for row in every.tolist()), self._digests, self._groups
        )

    def _split(self, name: str) -> ImageSplit:
        return self._images(name, self._positions[name])

    def _images(self, name: str, rows: np.ndarray) -> ImageSplit:
        identity = f"{self.split_fingerprint}/{name}"
        return ImageSplit(self._canvas, rows, self._labels[rows], self.classes, self.preprocessing, identity)


def prepare_dataset(
    source: str,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    seed: int,
    options: ListingOptions = ListingOptions(),  # noqa: B008
    on_progress: Progress | None = None,
) -> ImageDataset:
    """Decode a dataset, or find it in the cache, and split it.

    Args:
        source: Name of the dataset; see :func:`list_source`.
        preprocessing: Preprocessing whose geometry decides the canvases.
        cache_dir: Folder of decoded images, shared by all studies of a workspace.
        seed: Seed of the splits that the dataset does not come with, not negative.
        options: What the dataset does not say of itself.
        on_progress: Called with (images done, all images) while decoding.

    Raises:
        InvalidInputError: The dataset cannot be used, more than 10 % of its files do not decode, or the cache cannot be
            written.
    """
    listing = list_source(source, options, download_dir=cache_dir / "downloads")
    return decode_dataset(listing, preprocessing, cache_dir=cache_dir, seed=seed, on_progress=on_progress)


def decode_dataset(
    listing: Listing,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    seed: int,
    on_progress: Progress | None = None,
    folds: int | None = None,
) -> ImageDataset:
    """Decode a listed dataset, or find it in the cache, and split it; see :func:`prepare_dataset`.

    With ``folds``, training and validation images are divided into so many; see :func:`divide_folds`.
    """
    progress = on_progress or (lambda done, total: None)
    decoded = decode_once(listing, preprocessing, cache_dir=cache_dir, seed=seed, on_progress=progress, folds=folds)
    return ImageDataset(
        name=listing.name,
        classes=listing.classes,
        fingerprint=decoded.fingerprint,
        split_fingerprint=_split_fingerprint(decoded),
        preprocessing=preprocessing,
        skipped=decoded.skipped,
        counts=_count(decoded, listing.classes),
        scale=decoded.scale,
        notes=tuple(
            filter(
                None,
                (
                    *listing.notes,
                    _grouping(listing, decoded),
                    _folding(listing, decoded),
                    decoded.scale.sentence(),
                    _beyond_color(listing, preprocessing),
                ),
            )
        ),
        _canvas=decoded.canvas,
        _labels=decoded.labels,
        _positions=decoded.positions,
        _names=decoded.names,
        _digests=decoded.digests,
        _groups=decoded.groups,
        _folds=decoded.folds,
    )


def _grouping(listing: Listing, decoded: Decoded) -> str:
    """What the groups did to the splits, in words; empty without groups."""
    if decoded.groups is None:
        return ""
    count = len(set(decoded.groups))
    shares = ", ".join(
        f"{100 * len(rows) / len(decoded.labels):.0f} % {name}" for name, rows in decoded.positions.items()
    )
    given = {item.split for item in listing.items}
    whole = "" if given.issuperset(SPLITS) else f", none of which is in two of the splits made here: {shares}"
    return f"{count:,} groups of images ({listing.grouped_by}){whole}"


def _folding(listing: Listing, decoded: Decoded) -> str:
    """What the folds are, in words; empty without folds."""
    if not decoded.folds:
        return ""
    sizes = sorted({len(rows) for rows in decoded.folds})
    of = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    joined = ", the given validation images among them," if any(item.split == "val" for item in listing.items) else ""
    every = f"each image outside the test split{joined} validates once in a trial"
    return f"{len(decoded.folds)} folds of {of} images: {every}"


def _beyond_color(listing: Listing, preprocessing: Preprocessing) -> str:
    """A hint where the first TIFF has channels or pages that are not taken as such; empty otherwise."""
    first = next((item for item in listing.items if item.name.lower().endswith((".tif", ".tiff"))), None)
    if first is None or preprocessing.channels != RGB:
        return ""
    try:
        content = first.read()
    except OSError:
        return ""
    samples, pages = (isinstance(content, bytes) and tiff_layout(content)) or (RGB, 1)
    if samples > RGB:
        return (
            f"{first.name} has {plural_channels(samples)} and is taken as color with transparency. If the others are "
            f"bands of their own, use them: --channels {samples}"
        )
    if pages > 1:
        return (
            f"{first.name} has {pages:,} pages, of which the first is taken. If they are channels of one image, use "
            f"them: --channels {pages}"
        )
    return ""


def _count(decoded: Decoded, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images per split and class."""
    return {
        split: dict(zip(classes, np.bincount(decoded.labels[rows], minlength=len(classes)).tolist(), strict=True))
        for split, rows in decoded.positions.items()
    }


def _split_fingerprint(decoded: Decoded) -> str:
    parts: list[object] = [decoded.fingerprint, [decoded.positions[name].tolist() for name in SPLITS]]
    parts += [[rows.tolist() for rows in decoded.folds]] if decoded.folds else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
