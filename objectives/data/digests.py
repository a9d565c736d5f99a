"""SHA-256 of the images of a listing, kept in a file so that unchanged images are not read again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from .json_files import read_json, write_json
from .listing import Item, Listing
from .pixel_scale import Levels
from .threads import in_threads

# Takes the place of a digest.
UNREADABLE = "unreadable"
# A file that changed less than this ago may change again within the clock's resolution: its digest is not kept.
_SETTLED_SECONDS = 2

# Size, modification time and change time of a file, times in nanoseconds.
Stamp = list[int]


class DigestIndex:
    """The digests of a listing's files, each valid while the file's size and times do not change.

    Args:
        listing: Dataset whose files are hashed.
        folder: Folder of the indexes of all datasets.

    Attributes:
        source: Identity of the dataset's location.
        file: File of the index.
    """

    def __init__(self, listing: Listing, folder: Path) -> None:
        self._items = listing.items
        self.source = sha256(_location(listing))[:24]
        self.file = folder / f"{self.source}.json"

    def digests(self) -> list[str]:
        """SHA-256 of each image, in the order of the items; unchanged files are not read again."""
        known = read_json(self.file) or {}

        def hashed(item: Item) -> tuple[Stamp | None, str]:
            stamp, stored = settled_stamp(item), known.get(item.name)
            return stamp, stored[1] if stamp and stored and stored[0] == stamp else file_digest(item)

        stamped = list(in_threads(hashed, self._items))
        self.store(stamped)
        return [digest for _, digest in stamped]

    def store(self, stamped: Sequence[tuple[Stamp | None, str]]) -> None:
        """Keep digests, in the order of the items, each with the stamp that its file had before it was read."""
        pairs = zip(self._items, stamped, strict=True)
        index: dict[str, list[Any]] = {
            item.name: [stamp, digest] for item, (stamp, digest) in pairs if stamp and digest != UNREADABLE
        }
        if index != read_json(self.file):
            write_json(self.file, index)


def settled_stamp(item: Item) -> Stamp | None:
    """The stamp of an image's file; None without a file, or for one that changed only just now."""
    if item.file is None:
        return None
    try:
        stat = item.file.stat()
    except OSError:
        return None
    settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > _SETTLED_SECONDS * 10**9
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] if settled else None


def file_digest(item: Item) -> str:
    """SHA-256 of an image, read in pieces."""
    try:
        if isinstance(item.content, Path):
            with item.content.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        return content_digest(item.read())
    except OSError:
        return UNREADABLE


def content_digest(content: bytes | Image.Image) -> str:
    """SHA-256 of an image that was read."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha256(f"{content.mode} {content.size} ".encode() + content.tobytes()).hexdigest()


def fingerprint(listing: Listing, digests: Sequence[str], scale: Mapping[str, Levels] | None = None) -> str:
    """SHA-256 of a listing's contents: names, classes, given splits, groups and bytes of all files.

    Args:
        listing: Dataset.
        digests: SHA-256 of each image.
        scale: The values that become white in images of more than 8 bits, if there are any.
    """
    rows = [
        [item.name, item.label, item.split, digest, *([] if item.group is None else [item.group])]
        for item, digest in zip(listing.items, digests, strict=True)
    ]
    return sha256(json.dumps([listing.classes, rows, *([scale] if scale else [])]))


def sha256(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()


def _location(listing: Listing) -> str:
    first = listing.items[0]
    return str(first.file.absolute()).removesuffix(first.name) if first.file else listing.name
