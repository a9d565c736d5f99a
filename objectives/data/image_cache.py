"""Cache of decoded images on disk: made once per content and geometry, shared by all trials and workers.

A cache folder belongs to one content and one geometry and never changes after it was moved into place::

    <cache_dir>/<key>/images.npy         uint8 (N, R, R, C), canvases of all images that decode
    <cache_dir>/<key>/images.json        their checksum, and size and times of the file that has it
    <cache_dir>/<key>/manifest.json      classes, labels, names, pixels, skipped files, fingerprint
    <cache_dir>/<key>/splits-<seed>.json positions of train, val and test; kept, so that they stay fixed
    <cache_dir>/<key>/folds-<seed>-<k>.json  positions of the k folds of train and val; kept too
    <cache_dir>/hashes/<source>.json     SHA-256 of each file, valid while its size and times do not change

The key needs the SHA-256 of all files. A dataset that was never seen is hashed and decoded from one read of each file,
into ``<cache_dir>/<source>.partial``, which then becomes the cache under its key.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from ..errors import InvalidInputError
from ..preprocessing import Preprocessing
from .canvas_file import read_canvases, write_canvases
from .canvas_reader import CanvasReader, Progress
from .digests import DigestIndex, Stamp, fingerprint, sha256
from .folds import divide_folds
from .json_files import read_json, write_json
from .listing import Item, Listing, groups_of
from .pixel_scale import PixelScale, ScaleFinder
from .splits import SPLITS, resolve_splits

# Part of every cache key: increase it when the same files give other canvases than before.
_FORMAT = 2
_MAX_SKIPPED_SHARE = 0.1
_FIRST_SKIPPED = 5


@dataclass(frozen=True)
class Decoded:
    """A decoded dataset.

    Attributes:
        canvas: Canvases of all images, uint8 (N, R, R, C), a read-only memory map.
        labels: Labels, int64 (N,).
        positions: Rows of ``canvas`` in each split, ascending int64; with folds, the first one is ``val``.
        fingerprint: SHA-256 of the contents: names, classes, given splits, groups and bytes of all files, and their
            scale.
        scale: The values that became white in images of more than 8 bits.
        skipped: Reasons, by name, of the files that do not decode.
        names: Names of the images, by row.
        digests: SHA-256 of the images' files, by row.
        groups: Groups of the images, by row; None without groups.
        folds: Rows of ``canvas`` in each fold, ascending int64; empty without folds.
    """

    canvas: np.ndarray
    labels: np.ndarray
    positions: dict[str, np.ndarray]
    fingerprint: str
    scale: PixelScale
    skipped: dict[str, str]
    names: tuple[str, ...]
    digests: tuple[str, ...]
    groups: tuple[str, ...] | None = None
    folds: tuple[np.ndarray, ...] = ()


def decode_once(
    listing: Listing,
    preprocessing: Preprocessing,
    *,
    cache_dir: Path,
    seed: int,
    on_progress: Progress,
    folds: int | None = None,
) -> Decoded:
    """Decode a listing, or find it in the cache, and split it by a seed.

    Any number of processes may call it at once: one decodes, the others wait.

    Args:
        listing: Dataset to decode.
        preprocessing: Preprocessing whose geometry decides the canvases.
        cache_dir: Folder of decoded images.
        seed: Seed of the splits that the dataset does not come with.
        on_progress: Called with (images done, all images) while decoding.
        folds: Number of folds of the training and validation images; None without folds.

    Raises:
        InvalidInputError: More than 10 % of the files do not decode, a class has too few images, a file changed or
            disappeared while it was read, or the cache cannot be written.
    """
    with _write_errors_explained(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        index = DigestIndex(listing, cache_dir / "hashes")
        digests = _decode_unseen(listing, index, preprocessing, cache_dir, on_progress) or index.digests()
        folder = _folder(cache_dir, listing, digests, preprocessing)
        with FileLock(f"{folder}.lock"):
            if not _is_complete(folder):
                _build(folder, listing, digests, preprocessing, on_progress)
            manifest = read_json(folder / "manifest.json")
            positions = _stored_splits(folder, manifest, seed)
            divided = _stored_folds(folder, manifest, positions, folds, seed) if folds else ()
            if divided:
                positions |= {"train": np.sort(np.concatenate(divided[1:])), "val": divided[0]}
    digest_of = {item.name: digest for item, digest in zip(listing.items, digests, strict=True)}
    return Decoded(
        canvas=np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
        labels=np.array(manifest["labels"], dtype=np.int64),
        positions=positions,
        fingerprint=manifest["fingerprint"],
        scale=PixelScale.of(manifest["scale"]),
        skipped=manifest["skipped"],
        names=tuple(manifest["names"]),
        digests=tuple(digest_of[name] for name in manifest["names"]),
        groups=tuple(manifest["groups"]) if manifest.get("groups") else None,
        folds=divided,
    )


@contextlib.contextmanager
def _write_errors_explained(cache_dir: Path) -> Iterator[None]:
    """Explain file errors of the cache; images that cannot be read are handled one by one."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"Cannot store decoded images in {cache_dir}: {error.strerror or error}. "
            "Free space there, or choose a writable workspace."
        ) from error


def _folder(cache_dir: Path, listing: Listing, digests: Sequence[str], preprocessing: Preprocessing) -> Path:
    """The cache folder of a content and a geometry."""
    parts = [_FORMAT, fingerprint(listing, digests), preprocessing.geometry]
    return cache_dir / sha256(json.dumps(parts))[:32]


def _decode_unseen(
    listing: Listing, index: DigestIndex, preprocessing: Preprocessing, cache_dir: Path, on_progress: Progress
) -> list[str] | None:
    """Hash and decode a dataset that was never seen, from one read of each file.

    Returns:
        The digests; None for a dataset that was hashed before, is no folder of files, or may be a copy of a cached one.
    """
    files = all(item.file for item in listing.items)
    if not files or index.file.exists() or _names_are_cached(listing, cache_dir):
        return None
    index.file.parent.mkdir(exist_ok=True)
    with FileLock(f"{index.file}.lock"):
        # Another process was first.
        if index.file.exists():
            return None
        with _partial_folder(cache_dir / f"{index.source}.partial") as partial:
            stamped: list[tuple[Stamp | None, str]] = []
            decoded = _decode(partial, listing, preprocessing, on_progress, stamped=stamped)
            index.store(stamped)
            _write_manifest(partial, listing, preprocessing, decoded)
            folder = _folder(cache_dir, listing, decoded.digests, preprocessing)
            with FileLock(f"{folder}.lock"):
                if not _is_complete(folder):
                    shutil.rmtree(folder, ignore_errors=True)
                    partial.replace(folder)
    return decoded.digests


def _names_are_cached(listing: Listing, cache_dir: Path) -> bool:
    """Whether a cache has images of the same names: hashing may find that they are the same images."""
    names = {item.name for item in listing.items}
    manifests = filter(None, map(read_json, cache_dir.glob("*/manifest.json")))
    return any(names == {*manifest["names"], *manifest["skipped"]} for manifest in manifests)


@contextlib.contextmanager
def _partial_folder(partial: Path) -> Iterator[Path]:
    """An empty folder beside the caches, removed at the end unless it was moved into place."""
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir()
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _build(
    folder: Path, listing: Listing, digests: Sequence[str], preprocessing: Preprocessing, on_progress: Progress
) -> None:
    """Decode everything beside ``folder``, then move it into place in one step."""
    shutil.rmtree(folder, ignore_errors=True)
    with _partial_folder(folder.with_name(f"{folder.name}.partial")) as partial:
        decoded = _decode(partial, listing, preprocessing, on_progress, digests=digests)
        _write_manifest(partial, listing, preprocessing, decoded)
        partial.replace(folder)


@dataclass(frozen=True)
class _Canvases:
    """What is known of canvases that were written: see :class:`Decoded`; ``pixels`` are the images' sizes by name."""

    digests: list[str]
    skipped: dict[str, str]
    pixels: dict[str, tuple[int, int]]
    scale: PixelScale


def _decode(
    partial: Path,
    listing: Listing,
    preprocessing: Preprocessing,
    on_progress: Progress,
    *,
    digests: Sequence[str] | None = None,
    stamped: list[tuple[Stamp | None, str]] | None = None,
) -> _Canvases:
    """Write the canvases of all images into a folder.

    Each image is read once, unless there are images of more than 8 bits that need a scale that is not their own.

    Args:
        partial: Folder to write.
        listing: Dataset to decode.
        preprocessing: Preprocessing whose geometry decides the canvases.
        on_progress: Called with (images done, all images).
        digests: Digests that the images must have; None to hash them from the same read.
        stamped: Gets the stamp and the digest of each image that is hashed.
    """
    items, finder, stamped = listing.items, ScaleFinder(), [] if stamped is None else stamped

    def write(canvases: Iterator[np.ndarray | str]) -> dict[str, str]:
        return write_canvases(
            partial / "images.npy", items, canvases, preprocessing.canvas_size, preprocessing.channels
        )

    reader = CanvasReader(preprocessing, finder, on_progress)
    skipped = write(reader.read_once(items, stamped) if digests is None else reader.read_again(items, digests))
    found = list(digests or (digest for _, digest in stamped))
    scale = finder.found()
    if not finder.agreed():
        skipped = write(CanvasReader(preprocessing, scale, on_progress).read_again(items, found))
    return _Canvases(found, skipped, reader.pixels, scale)


def _refuse_unusable(listing: Listing, kept: Sequence[Item], skipped: dict[str, str]) -> None:
    total = len(listing.items)
    first = "".join(f"\n  {name}: {reason}" for name, reason in list(skipped.items())[:_FIRST_SKIPPED])
    if len(skipped) > _MAX_SKIPPED_SHARE * total:
        raise InvalidInputError(
            f"{len(skipped)} of {total} images of {listing.name} do not decode ({len(skipped) / total:.0%}, more than "
            f"{_MAX_SKIPPED_SHARE:.0%}). Repair or remove them. The first ones:{first}"
        )
    faults = replace(listing, items=tuple(kept)).faults()
    if faults:
        raise InvalidInputError([*faults, f"Left out because they do not decode: {len(skipped)} of {total}.{first}"])


def _write_manifest(partial: Path, listing: Listing, preprocessing: Preprocessing, decoded: _Canvases) -> None:
    kept = [item for item in listing.items if item.name not in decoded.skipped]
    _refuse_unusable(listing, kept, decoded.skipped)
    manifest = {
        "classes": list(listing.classes),
        "names": [item.name for item in kept],
        "labels": [item.label for item in kept],
        "given_splits": [item.split for item in kept],
        "groups": groups_of(kept),
        "skipped": decoded.skipped,
        "fingerprint": fingerprint(listing, decoded.digests, decoded.scale.known()),
        "geometry": preprocessing.geometry,
        "scale": decoded.scale.known(),
        "pixels": [decoded.pixels[item.name] for item in kept],
    }
    write_json(partial / "manifest.json", manifest)


def _is_complete(folder: Path) -> bool:
    """Whether a cache folder is complete: nothing missing, truncated or changed."""
    manifest, images = read_json(folder / "manifest.json"), read_canvases(folder / "images.npy")
    return manifest is not None and images is not None and len(images) == len(manifest["labels"])


def _stored_splits(folder: Path, manifest: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """The splits of a seed, as they were first made."""
    file = folder / f"splits-{seed}.json"
    stored = read_json(file)
    if stored is None:
        made = resolve_splits(manifest["given_splits"], manifest["labels"], seed, manifest.get("groups"))
        stored = {name: rows.tolist() for name, rows in made.items()}
        write_json(file, stored)
    return {name: np.array(stored[name], dtype=np.int64) for name in SPLITS}


def _stored_folds(
    folder: Path, manifest: dict[str, Any], splits: dict[str, np.ndarray], count: int, seed: int
) -> tuple[np.ndarray, ...]:
    """The folds of a seed, as they were first made."""
    file = folder / f"folds-{seed}-{count}.json"
    stored = read_json(file)
    if stored is None:
        made = divide_folds(manifest["classes"], manifest["labels"], splits, count, seed, manifest.get("groups"))
        stored = {"folds": [rows.tolist() for rows in made]}
        write_json(file, stored)
    return tuple(np.array(rows, dtype=np.int64) for rows in stored["folds"])
