"""Features in files: one an entry, shared by the processes of a workspace, checked before they are used; stages too.

An entry is written under another name and moved into place, so it is there whole or not at all. After a power failure
it may still be torn: its checksums tell, and it is taken out. Nothing waits for the disk because of it.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import BaseFileLock, FileLock, Timeout
from numpy.typing import NDArray

_MAGIC = b"FROSTFT1"
# Magic, length of the facts, their checksum; the data begin at a multiple of _ALIGNMENT.
_HEAD = struct.Struct("<8sII")
_ALIGNMENT = 64
_LARGEST_FACTS = 2**16
# Locks are files that stay; entries share this many, so that they do not become more and more.
_LOCKS = 64
_SAMPLE = 8 * 2**20
# What reading an entry may raise that is torn, changed or none of ours.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError)


class FeatureFiles:
    """Entries of a folder, by key (hexadecimal digits).

    Args:
        folder: Made if it is missing; what killed processes left in it is cleared away.
        kind: Of the entries, the suffix of their files.
        locks: How many there are; keys that share one wait for each other.
    """

    def __init__(self, folder: Path, kind: str = "features", locks: int = _LOCKS) -> None:
        self._folder = folder
        self._kind = kind
        self._locks = locks
        self._checked: set[tuple[str, int, int]] = set()
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout):
            self._clear(FileLock(folder / "all.lock", timeout=0))

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold an entry; the operating system lets go when the process ends, however it ends."""
        with FileLock(self._folder / f"{zlib.crc32(key.encode()) % self._locks:02d}.lock"):
            yield

    @contextmanager
    def all_locked(self) -> Iterator[None]:
        """Hold the folder: for all that writes. Whoever holds an entry may ask for it, not the other way round."""
        with FileLock(self._folder / "all.lock") as lock:
            self._clear(lock)
            yield

    def read(self, key: str) -> tuple[dict[str, Any], NDArray[np.uint8]] | None:
        """Facts and bytes (n,) of an entry, memory-mapped, private to this process if written to.

        One that is torn, changed or of another key is taken out.
        """
        file = self._file(key)
        try:
            facts, data = self._open(key)
            os.utime(file)
        except FileNotFoundError:
            return None
        except _UNUSABLE:
            self.remove(key)
            return None
        return facts, data

    def damaged(self) -> list[str]:
        """Keys of the entries that are torn, changed or of another key; all are read."""
        found: list[str] = []
        for file in sorted(self._folder.glob(f"*.{self._kind}")):
            try:
                self._open(file.stem)
            except FileNotFoundError:
                continue
            except _UNUSABLE:
                found.append(file.stem)
        return found

    def _open(self, key: str) -> tuple[dict[str, Any], NDArray[np.uint8]]:
        """Facts and bytes of an entry that is what it says; raises one of ``_UNUSABLE`` if it is not."""
        file = self._file(key)
        facts, start = _read_facts(file)
        data = np.memmap(file, np.uint8, mode="c", offset=start)
        if facts["key"] != key or len(data) != facts["bytes"]:
            raise ValueError(f"{file.name} is not what it says")
        self._check(file, facts, data)
        return facts, data

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        """Keep an entry, while the folder is held; whether that succeeded. A full disk leaves nothing behind."""
        unfinished = self._folder / f"{key}.{os.getpid()}.partial"
        try:
            _write(unfinished, {**facts, "key": key, "bytes": len(data), "crc32": zlib.crc32(data.data)}, data)
            unfinished.replace(self._file(key))
        except OSError:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            return False
        return True

    def held(self) -> dict[str, tuple[int, float, float]]:
        """Bytes, seconds of computing and seconds since the last use of every entry."""
        found: dict[str, tuple[int, float, float]] = {}
        for file in self._folder.glob(f"*.{self._kind}"):
            try:
                facts, _ = _read_facts(file)
                status = file.stat()
                found[file.stem] = (status.st_size, float(facts["seconds"]), max(0.0, time.time() - status.st_mtime))
            except FileNotFoundError:
                continue
            except _UNUSABLE:
                self.remove(file.stem)
        return found

    def remove(self, key: str) -> None:
        """Take an entry out. Who has it mapped keeps what it has."""
        with suppress(OSError):
            self._file(key).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Space left on the disk."""
        return shutil.disk_usage(self._folder).free

    def seconds_per_byte(self) -> float:
        """To write, check and read an entry, as measured now; infinite where nothing can be written."""
        key, data = f"sample-{os.getpid()}", np.zeros(_SAMPLE, np.uint8)
        with self.all_locked():
            started = time.perf_counter()
            kept = self.write(key, {}, data) and self.read(key) is not None
            seconds = time.perf_counter() - started
            self.remove(key)
        return seconds / _SAMPLE if kept else float("inf")

    def _check(self, file: Path, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> None:
        """Compare the checksum, once a process for a file."""
        status = file.stat()
        identity = (file.name, status.st_ino, status.st_size)
        if identity in self._checked:
            return
        if zlib.crc32(data.data) != facts["crc32"]:
            raise ValueError(f"{file.name} was changed")
        self._checked.add(identity)

    def _clear(self, lock: BaseFileLock) -> None:
        """Remove what killed processes left half written: while the folder is held, nobody else writes."""
        with lock:
            for partial in self._folder.glob("*.partial"):
                with suppress(OSError):
                    partial.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.{self._kind}"


def _write(file: Path, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> None:
    text = json.dumps(facts).encode()
    text += b" " * (-(_HEAD.size + len(text)) % _ALIGNMENT)
    with file.open("wb") as stream:
        stream.write(_HEAD.pack(_MAGIC, len(text), zlib.crc32(text)))
        stream.write(text)
        stream.write(data.data)


def _read_facts(file: Path) -> tuple[dict[str, Any], int]:
    """The facts of an entry, and where its data begin.

    Raises:
        ValueError: They are torn or changed, or the file is none of ours.
    """
    with file.open("rb") as stream:
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ValueError(f"{file.name} is torn")
        magic, length, checksum = _HEAD.unpack(head)
        text = stream.read(length) if magic == _MAGIC and length <= _LARGEST_FACTS else b""
    if not text or zlib.crc32(text) != checksum:
        raise ValueError(f"{file.name} is torn, changed or no features")
    return json.loads(text), _HEAD.size + length
