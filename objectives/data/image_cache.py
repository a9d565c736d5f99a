"""Cache of decoded images on disk: made once per content and geometry, shared by all trials and workers.

A cache folder belongs to one content and one geometry and never changes after it was moved into place::

    <cache_dir>/<key>/images.npy         uint8 (N, R, R, 3), canvases of all images that decode
    <cache_dir>/<key>/manifest.json      classes, labels, names, pixels, skipped files, fingerprint
    <cache_dir>/<key>/splits-<seed>.json positions of train, val and test; kept, so that they stay fixed
    <cache_dir>/hashes/<source>.json     SHA-256 of each file, valid while its size and times do not change
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

from ..errors import InvalidInputError
from ..preprocessing import Preprocessing
from .decoding import UndecodableImageError, decode_image, quiet_decoding, to_canvas
from .listing import Item, Listing
from .splits import SPLITS, resolve_splits, split_faults

# Part of every cache key: increase it when the same files give other canvases than before.
_FORMAT = 1
_MAX_SKIPPED_SHARE = 0.1
_FIRST_SKIPPED = 5
_MAX_FILE_BYTES = 512 * 2**20
# Images in flight: enough to keep every thread busy, few enough to bound memory.
_BATCH = 256
# A file that changed less than this ago may change again within the clock's resolution: its hash is not cached.
_SETTLED_SECONDS = 2
# Takes the place of a hash.
_UNREADABLE = "unreadable"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Decoded:
    """A decoded dataset.

    Attributes:
        canvas: Canvases of all images, uint8 (N, R, R, 3), a read-only memory map.
        labels: Labels, int64 (N,).
        positions: Rows of ``canvas`` in each split, ascending int64.
        fingerprint: SHA-256 of the contents: names, classes, given splits and bytes of all files.
        skipped: Reasons, by name, of the files that do not decode.
    """

    canvas: np.ndarray
    labels: np.ndarray
    positions: dict[str, np.ndarray]
    fingerprint: str
    skipped: dict[str, str]


def decode_once(
    listing: Listing, preprocessing: Preprocessing, *, cache_dir: Path, seed: int, on_progress: Progress
) -> Decoded:
    """Decode a listing, or find it in the cache, and split it by a seed.

    Any number of processes may call it at once: one decodes, the others wait.

    Args:
        listing: Dataset to decode.
        preprocessing: Preprocessing whose geometry decides the canvases.
        cache_dir: Folder of decoded images.
        seed: Seed of the splits that the dataset does not come with.
        on_progress: Called with (images done, all images) while decoding.

    Raises:
        InvalidInputError: More than 10 % of the files do not decode, a class has too few images, a file changed or
            disappeared while it was read, or the cache cannot be written.
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
    """Explain file errors of the cache; images that cannot be read are handled one by one."""
    try:
        yield
    except OSError as error:
        raise InvalidInputError(
            f"Cannot store decoded images in {cache_dir}: {error.strerror or error}. "
            "Free space there, or choose a writable workspace."
        ) from error


def _digests(listing: Listing, cache_dir: Path) -> list[str]:
    """SHA-256 of each image, in the order of the items; unchanged files are not read again."""
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
    """Size, modification time and change time of a file, times in nanoseconds; ``None`` without a file."""
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
    """Decode everything beside ``folder``, then move it into place in one step."""
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
    """For each item its canvas, or the reason why there is none; records the image sizes in ``pixels``."""

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
    """Read an image and check its digest, so that a cache never holds other images than its key says."""
    try:
        if isinstance(item.content, Path) and item.content.stat().st_size > _MAX_FILE_BYTES:
            raise UndecodableImageError(f"larger than {_MAX_FILE_BYTES // 2**20} MiB")
        content = item.read()
    except OSError as error:
        if digest == _UNREADABLE:
            raise UndecodableImageError(error.strerror or str(error)) from error
        raise InvalidInputError(
            f"{item.name} can no longer be read: {error.strerror}. Run the command again."
        ) from error
    if _sha256_of_read(content) != digest:
        raise InvalidInputError(
            f"{item.name} changed while it was being read. Run the command again when nothing writes to the dataset."
        )
    return content


def _write_images(file: Path, items: Sequence[Item], canvases: Iterable[np.ndarray | str], side: int) -> dict[str, str]:
    """Append the canvases to an array file and return the skipped items with their reasons."""
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
    """Write the header in place: NumPy pads it for any number of rows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, side, side, 3)}
    np.lib.format.write_array_header_1_0(stream, header)


def _refuse_unusable(listing: Listing, kept: Sequence[Item], skipped: dict[str, str]) -> None:
    total = len(listing.items)
    first = "".join(f"\n  {name}: {reason}" for name, reason in list(skipped.items())[:_FIRST_SKIPPED])
    if len(skipped) > _MAX_SKIPPED_SHARE * total:
        raise InvalidInputError(
            f"{len(skipped)} of {total} images of {listing.name} do not decode ({len(skipped) / total:.0%}, more than "
            f"{_MAX_SKIPPED_SHARE:.0%}). Repair or remove them. The first ones:{first}"
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
    """Whether a cache folder is complete: nothing missing, nothing truncated."""
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
    """Write a file in one step: readers never see half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with unfinished.open("w", encoding="utf-8") as stream:
        json.dump(value, stream)
        stream.flush()
        os.fsync(stream.fileno())
    unfinished.replace(file)


def _in_threads(function: Callable[[Any], Any], values: Sequence[Any]) -> Iterator[Any]:
    """Map in order, one batch at a time. Threads are enough: decoding and hashing release the interpreter lock."""
    threads = min(32, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(values), _BATCH):
            yield from pool.map(function, values[start : start + _BATCH])
