"""Decoded images on disk: made once for a content and a geometry, shared by every trial and worker.

A cache folder belongs to one content and one geometry and is never changed after it was moved into place::

    <cache_dir>/<key>/images.npy         uint8 (N, R, R, 3), the canvases of all images that decode
    <cache_dir>/<key>/manifest.json      classes, labels, names, pixels, skipped files, fingerprint
    <cache_dir>/<key>/splits-<seed>.json positions of train, val and test; kept, so that they stay fixed
    <cache_dir>/hashes/<source>.json     SHA-256 per file, valid while its size and times stay as they are
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from .errors import InvalidInputError
from .images import UndecodableImageError, decode_image, quiet_decoding, to_canvas
from .listing import Item, Listing
from .preprocessing import Preprocessing
from .splits import SPLITS, resolve_splits, split_faults

# Part of every cache key: raise it when the same files give other canvases than before.
_FORMAT = 1
_LARGEST_SKIPPED_SHARE = 0.1
_FIRST_SKIPPED = 5
_LARGEST_FILE = 512 * 2**20
# Images in flight: enough to keep every thread busy, few enough to bound memory.
_BATCH = 256
# A file changed this short a time ago may change again within the clock's resolution: its hash is not remembered.
_SETTLED_SECONDS = 2
# In the place of a hash.
_UNREADABLE = "unreadable"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Decoded:
    """A decoded dataset.

    Attributes:
        canvas: uint8, shape (N, R, R, 3), read-only memory map.
        labels: int64, shape (N,).
        positions: Rows of each split, ascending.
        fingerprint: SHA-256 of the contents: names, classes, given splits and bytes of all files.
        skipped: Files left out because they do not decode: name to reason.
    """

    canvas: np.ndarray
    labels: np.ndarray
    positions: dict[str, np.ndarray]
    fingerprint: str
    skipped: dict[str, str]


def decode_once(
    listing: Listing, preprocessing: Preprocessing, *, cache_dir: Path, seed: int, on_progress: Progress
) -> Decoded:
    """Decode a listing, or find it decoded, and give it the splits of a seed.

    Any number of processes may ask at once: one decodes, the others wait for it.

    Args:
        listing: What to decode.
        preprocessing: Its geometry decides the canvases.
        cache_dir: Folder for decoded images.
        seed: Of the splits that the dataset does not come with.
        on_progress: Called with (images done, images in all) while decoding.

    Raises:
        InvalidInputError: Too many files do not decode, or no space for the cache.
    """
    with _write_errors_explained(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        digests = _digests(listing, cache_dir)
        folder = cache_dir / _key(_fingerprint(listing, digests), preprocessing)
        with FileLock(f"{folder}.lock"):
            if not _is_complete(folder):
                _build(folder, listing, digests, preprocessing, on_progress)
            manifest = _read_json(folder / "manifest.json")
            positions = _stored_splits(folder, manifest, seed)
    return Decoded(
        canvas=np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False),
        labels=np.array(manifest["labels"], dtype=np.int64),
        positions=positions,
        fingerprint=manifest["fingerprint"],
        skipped=manifest["skipped"],
    )


@contextlib.contextmanager
def _write_errors_explained(cache_dir: Path) -> Iterator[None]:
    """What cannot be read is dealt with per image; other file errors come from the cache."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"Cannot keep decoded images in {cache_dir}: {error.strerror or error}. "
            "Make room there, or choose a workspace that can be written."
        ) from error


def _digests(listing: Listing, cache_dir: Path) -> list[str]:
    """SHA-256 of each image, in the order of the items; files that did not change are not read again."""
    index_file = cache_dir / "hashes" / f"{_sha256(_location(listing))[:24]}.json"
    known = _read_json(index_file) or {}
    index: dict[str, list[Any]] = {}

    def digest(item: Item) -> str:
        stamp = _stamp(item)
        stored = known.get(item.name)
        value = stored[1] if stored and stored[0] == stamp else _digest(item)
        if stamp and value != _UNREADABLE and time.time_ns() - max(stamp[1:]) > _SETTLED_SECONDS * 10**9:
            index[item.name] = [stamp, value]
        return value

    digests = list(_in_threads(digest, listing.items))
    if index != known:
        _write_json(index_file, index)
    return digests


def _location(listing: Listing) -> str:
    first = listing.items[0]
    if not isinstance(first.content, Path):
        return listing.name
    return str(first.content.absolute()).removesuffix(first.name)


def _stamp(item: Item) -> list[int] | None:
    """Size, modification and change time of a file, the times in nanoseconds; ``None`` for what is no file."""
    if not isinstance(item.content, Path):
        return None
    try:
        stat = item.content.stat()
    except OSError:
        return None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _digest(item: Item) -> str:
    if isinstance(item.content, Path):
        try:
            with item.content.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError:
            return _UNREADABLE
    return _sha256_of_read(item.read())


def _sha256_of_read(content: bytes | Image.Image) -> str:
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(f"{content.mode} {content.size} ".encode() + content.tobytes()).hexdigest()


def _fingerprint(listing: Listing, digests: Sequence[str]) -> str:
    rows = [[item.name, item.label, item.split, digest] for item, digest in zip(listing.items, digests, strict=True)]
    return _sha256(json.dumps([listing.classes, rows]))


def _key(fingerprint: str, preprocessing: Preprocessing) -> str:
    geometry = [preprocessing.image_size, preprocessing.resize_size, preprocessing.interpolation]
    return _sha256(json.dumps([_FORMAT, fingerprint, geometry]))[:32]


def _sha256(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _build(
    folder: Path, listing: Listing, digests: Sequence[str], preprocessing: Preprocessing, on_progress: Progress
) -> None:
    """Decode everything beside ``folder``, then move it there in one step."""
    partial = folder.with_name(f"{folder.name}.partial")
    for leftover in (folder, partial):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir()
        pixels: dict[str, tuple[int, int]] = {}
        canvases = _canvases(listing, digests, preprocessing, on_progress, pixels)
        skipped = _write_images(partial / "images.npy", listing.items, canvases, preprocessing.resize_size)
        kept = [item for item in listing.items if item.name not in skipped]
        _refuse_unusable(listing, kept, skipped)
        manifest = _manifest(listing, kept, skipped) | {
            "fingerprint": _fingerprint(listing, digests),
            "pixels": [pixels[item.name] for item in kept],
        }
        _write_json(partial / "manifest.json", manifest)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _canvases(
    listing: Listing,
    digests: Sequence[str],
    preprocessing: Preprocessing,
    on_progress: Progress,
    pixels: dict[str, tuple[int, int]],
) -> Iterator[np.ndarray | str]:
    """Per item its canvas, or the reason why there is none; notes in ``pixels`` how large the image was."""

    def canvas(pair: tuple[Item, str]) -> np.ndarray | str:
        try:
            image = decode_image(_read_unchanged(*pair))
            pixels[pair[0].name] = image.size
            return to_canvas(image, preprocessing)
        except UndecodableImageError as error:
            return str(error)

    pairs = list(zip(listing.items, digests, strict=True))
    with quiet_decoding():
        for done, result in enumerate(_in_threads(canvas, pairs), start=1):
            on_progress(done, len(pairs))
            yield result


def _read_unchanged(item: Item, digest: str) -> bytes | Image.Image:
    """What the fingerprint was taken of, so that a cache never holds other images than its key says."""
    try:
        if isinstance(item.content, Path) and item.content.stat().st_size > _LARGEST_FILE:
            raise UndecodableImageError(f"larger than {_LARGEST_FILE // 2**20} MiB")
        content = item.read()
    except OSError as error:
        if digest == _UNREADABLE:
            raise UndecodableImageError(error.strerror or str(error)) from error
        raise InvalidInputError(f"{item.name} can no longer be read: {error.strerror}. Try again.") from error
    if _sha256_of_read(content) != digest:
        raise InvalidInputError(f"{item.name} changed while it was being read. Try again when the dataset is at rest.")
    return content


def _write_images(file: Path, items: Sequence[Item], canvases: Iterable[np.ndarray | str], side: int) -> dict[str, str]:
    """Append the canvases to an array file and give the skipped items with their reasons."""
    skipped: dict[str, str] = {}
    with file.open("wb") as stream:
        _write_header(stream, len(items), side)
        start = stream.tell()
        for item, canvas in zip(items, canvases, strict=True):
            if isinstance(canvas, str):
                skipped[item.name] = canvas
            else:
                stream.write(np.ascontiguousarray(canvas).data)
        stream.seek(0)
        _write_header(stream, len(items) - len(skipped), side)
        if stream.tell() != start:
            raise RuntimeError("NumPy's header changed its length with the number of rows")
        stream.flush()
        os.fsync(stream.fileno())
    return skipped


def _write_header(stream: Any, rows: int, side: int) -> None:
    """NumPy leaves room in the header for any number of rows, so that it can be corrected in place."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, side, side, 3)}
    np.lib.format.write_array_header_1_0(stream, header)


def _refuse_unusable(listing: Listing, kept: Sequence[Item], skipped: dict[str, str]) -> None:
    total = len(listing.items)
    first = "".join(f"\n  {name}: {reason}" for name, reason in list(skipped.items())[:_FIRST_SKIPPED])
    if len(skipped) > _LARGEST_SKIPPED_SHARE * total:
        raise InvalidInputError(
            f"{len(skipped)} of {total} images of {listing.name} do not decode ({len(skipped) / total:.0%}, more than "
            f"{_LARGEST_SKIPPED_SHARE:.0%}). Repair or remove them. The first ones:{first}"
        )
    faults = split_faults(listing.classes, [item.split for item in kept], [item.label for item in kept])
    if faults:
        raise InvalidInputError([*faults, f"Left out because they do not decode: {len(skipped)} of {total}.{first}"])


def _manifest(listing: Listing, kept: Sequence[Item], skipped: dict[str, str]) -> dict[str, Any]:
    return {
        "classes": list(listing.classes),
        "names": [item.name for item in kept],
        "labels": [item.label for item in kept],
        "given_splits": [item.split for item in kept],
        "skipped": skipped,
    }


def _is_complete(folder: Path) -> bool:
    """Whether a cache is whole: nothing missing, nothing torn."""
    manifest = _read_json(folder / "manifest.json")
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return False
    return manifest is not None and len(images) == len(manifest["labels"])


def _stored_splits(folder: Path, manifest: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """The splits of a seed, as they were first made."""
    file = folder / f"splits-{seed}.json"
    stored = _read_json(file)
    if stored is None:
        made = resolve_splits(manifest["given_splits"], manifest["labels"], seed)
        stored = {name: rows.tolist() for name, rows in made.items()}
        _write_json(file, stored)
    return {name: np.array(stored[name], dtype=np.int64) for name in SPLITS}


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write_json(file: Path, value: Any) -> None:
    """Write a file that is never seen half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with unfinished.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def _in_threads(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
    """Map in order, a batch at a time. Decoding and hashing release the interpreter lock, so threads are enough."""
    threads = min(32, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(values), _BATCH):
            yield from pool.map(function, values[start : start + _BATCH])
