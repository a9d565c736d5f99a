"""Feature cache in files, shared by the processes of a workspace; cached first phases are stored the same way.

Each entry is one file with checksums, written under another name and renamed. It is not flushed to the disk: after a
power failure an entry may be incomplete; its checksums detect this, and it is removed.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

_MAGIC = b"FROSTFT1"
# Magic, length of the facts, checksum of the facts; the data start at a multiple of _ALIGNMENT.
_HEAD = struct.Struct("<8sII")
_ALIGNMENT = 64
_MAX_FACTS = 2**16
# Lock files are never deleted; all entries share this many.
_LOCKS = 64
_SAMPLE = 8 * 2**20
# Errors of reading a file that is incomplete, changed or no entry.
_UNUSABLE = (OSError, ValueError, KeyError, TypeError)


class FeatureFiles:
    """Cache entries in a folder, by key (hexadecimal digits).

    **Guarantees:**

    - An entry appears complete or not at all, whenever a writer is killed. What a killed writer left is deleted by the
      next process that opens or locks the folder.
    - :meth:`read` never returns changed data: lengths and checksums are checked, the data's once per file and process.
      An entry that fails is removed and counts as missing.
    - Any number of processes may read. Writers hold :meth:`all_locked`; processes that hold :meth:`lock` for a key
      compute its entry once. The operating system releases both locks when a process ends, even if killed.
    - Data that were read stay valid after another process removed the entry; writing to them changes no file.
    - Entries may disappear at any time: after a power failure, or because another process evicted them.
    - Where the folder cannot be written, as on a read-only disk, nothing is kept: what is there is read, nothing is
      locked, and several processes may compute the same entry.

    Args:
        folder: Folder of the entries; created if it is missing.
        kind: Suffix of the entries' files.
        locks: Number of lock files; keys that share one wait for each other.
        note: Told once where the folder cannot be written.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> import numpy as np
        >>> from frostline.storage.files import FeatureFiles
        >>> with TemporaryDirectory() as folder:
        ...     files = FeatureFiles(Path(folder))
        ...     with files.all_locked():
        ...         written = files.write("c0ffee", {"seconds": 1.5}, np.arange(3, dtype=np.uint8))
        ...     facts, data = files.read("c0ffee")
        >>> facts["seconds"], data.tolist()
        (1.5, [0, 1, 2])
    """

    def __init__(
        self,
        folder: Path,
        kind: str = "features",
        locks: int = _LOCKS,
        note: Callable[[str], None] = lambda message: None,
    ) -> None:
        self._folder = folder
        self._kind = kind
        self._locks = locks
        self._checked: set[tuple[str, int, int]] = set()
        self._note: Callable[[str], None] | None = note
        # The first lock tells why not.
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        with suppress(Timeout), self._locked("all", timeout=0) as held:
            self._clear(writable=held)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock an entry, so that one process computes it while others wait."""
        with self._locked(f"{zlib.crc32(key.encode()) % self._locks:02d}"):
            yield

    @contextmanager
    def all_locked(self) -> Iterator[None]:
        """Lock the folder for writing. A process may take this lock while it holds an entry's, not the reverse."""
        with self._locked("all") as held:
            self._clear(writable=held)
            yield

    def read(self, key: str) -> tuple[dict[str, Any], NDArray[np.uint8]] | None:
        """Return the facts and the bytes, shape (n,), of an entry; None if it is missing.

        The bytes are memory-mapped copy-on-write. An entry that is incomplete, changed or of another key is removed.
        """
        file = self._file(key)
        try:
            facts, data = self._open(key)
        except FileNotFoundError:
            return None
        except _UNUSABLE:
            self.remove(key)
            return None
        # An entry that cannot be touched is as good.
        with suppress(OSError):
            os.utime(file)
        return facts, data

    def damaged(self) -> list[str]:
        """Read all entries, and return the keys of those that are incomplete, changed or of another key."""
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
        """Return facts and bytes of a valid entry; raise one of ``_UNUSABLE`` for others."""
        file = self._file(key)
        facts, start = _read_facts(file)
        data = np.memmap(file, np.uint8, mode="c", offset=start)
        if facts["key"] != key or len(data) != facts["bytes"]:
            raise ValueError(f"{file.name} has another key or length")
        self._check(file, facts, data)
        return facts, data

    def write(self, key: str, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> bool:
        """Write an entry; the caller holds :meth:`all_locked`.

        Args:
            key: Key of the entry.
            facts: Plain values to store with the data.
            data: Bytes of the entry, uint8, shape (n,).

        Returns:
            True if the entry was written; False if not, for example on a full disk. Nothing is left behind then.
        """
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
        """Return size in bytes, seconds of computing and seconds since the last use of every entry, by key."""
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
        """Remove an entry. Processes that have mapped it keep its data."""
        with suppress(OSError):
            self._file(key).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return the free bytes of the disk; 0 without the folder."""
        try:
            return shutil.disk_usage(self._folder).free
        except OSError:
            return 0

    def seconds_per_byte(self) -> float:
        """Measure the seconds per byte to write, check and read an entry; infinite if nothing can be written."""
        key, data = f"sample-{os.getpid()}", np.zeros(_SAMPLE, np.uint8)
        with self.all_locked():
            started = time.perf_counter()
            kept = self.write(key, {}, data) and self.read(key) is not None
            seconds = time.perf_counter() - started
            self.remove(key)
        return seconds / _SAMPLE if kept else float("inf")

    def _check(self, file: Path, facts: Mapping[str, Any], data: NDArray[np.uint8]) -> None:
        """Compare the data's checksum, once for each file in a process."""
        status = file.stat()
        identity = (file.name, status.st_ino, status.st_size)
        if identity in self._checked:
            return
        if zlib.crc32(data.data) != facts["crc32"]:
            raise ValueError(f"{file.name} was changed")
        self._checked.add(identity)

    @contextmanager
    def _locked(self, name: str, timeout: float = -1) -> Iterator[bool]:
        """Hold a lock; yield whether it is held, which it is not where the folder cannot be written.

        Raises:
            Timeout: Another process holds it.
        """
        lock = FileLock(self._folder / f"{name}.lock", timeout=timeout)
        try:
            lock.acquire()
        except Timeout:
            raise
        except OSError as error:
            self._tell(error)
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _tell(self, error: OSError) -> None:
        note, self._note = self._note, None
        if note is not None:
            note(
                f"{error.strerror or error}: {self._folder}. The search goes on without the cache there, which costs "
                "time alone"
            )

    def _clear(self, *, writable: bool) -> None:
        """Remove partial files of killed processes. While the folder is locked, no other process writes."""
        for partial in self._folder.glob("*.partial") if writable else ():
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
    """Return the facts of an entry and the offset of its data in bytes.

    Raises:
        ValueError: The facts are incomplete or changed, or the file is no entry.
    """
    with file.open("rb") as stream:
        head = stream.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise ValueError(f"{file.name} is incomplete")
        magic, length, checksum = _HEAD.unpack(head)
        text = stream.read(length) if magic == _MAGIC and length <= _MAX_FACTS else b""
    if not text or zlib.crc32(text) != checksum:
        raise ValueError(f"{file.name} is incomplete, changed or no cache entry")
    return json.loads(text), _HEAD.size + length
