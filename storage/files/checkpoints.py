"""Checkpoints of running trainings: the latest two of each, with checksums, in a folder or an object store.

Each worker writes under the fencing token of its lease, as a folder or as a prefix of object names. A worker that lost
its lease therefore cannot overwrite the checkpoints of its successor.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError

_DIGEST = hashlib.sha256().digest_size
_OBJECT = re.compile(r"\d{10}-\d{10}")


class Checkpoints(ABC):
    """The checkpoints of one training.

    **Guarantees:**

    - A kill at any time, also during a write, leaves the checkpoint before it loadable.
    - :meth:`load` returns a complete state or None: each state is stored behind its SHA-256 digest, and states that
      fail the check are skipped. Of several workers' states the one with the highest token is loaded.
    - The two latest states are kept. A worker deletes states of earlier workers only after it has written two itself.
    - One worker writes at a time, from one thread. A worker that lost its lease may still write, but under its own,
      lower token.
    """

    def save(self, state: bytes) -> bool:
        """Save a state and keep the one before it; return whether it was saved.

        Raises:
            StorageError: The state cannot be written.
        """
        return self.write(hashlib.sha256(state).digest(), state)

    def load(self) -> bytes | None:
        """Return the latest complete state, written by any worker; None if there is none."""
        for content in self.contents():
            if (state := _whole(content)) is not None:
                return state
        return None

    @abstractmethod
    def remove(self) -> None:
        """Remove all checkpoints of the training, which has ended."""

    @abstractmethod
    def write(self, digest: bytes, content: bytes) -> bool:
        """Write a digest and its state, keep the state before it, delete older ones; return whether it was written."""

    @abstractmethod
    def contents(self) -> Iterator[bytes]:
        """Yield the stored digests with their states, latest first; they may be incomplete."""


class CheckpointFolder(Checkpoints):
    """Checkpoints as files in a folder.

    **Guarantees:** those of :class:`Checkpoints`. A file is flushed to the disk under another name and then renamed, so
    it appears complete or not at all.

    Args:
        folder: Folder of this training alone; created with the first checkpoint.
        token: Fencing token of the lease; increases with each worker.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from frostline.storage.files import CheckpointFolder
        >>> with TemporaryDirectory() as folder:
        ...     saved = CheckpointFolder(Path(folder), token=1).save(b"epoch 3")
        ...     CheckpointFolder(Path(folder), token=2).load()
        b'epoch 3'
    """

    def __init__(self, folder: Path, token: int = 0) -> None:
        self._training = folder
        self._folder = folder / str(token)

    def remove(self) -> None:
        shutil.rmtree(self._training, ignore_errors=True)

    def contents(self) -> Iterator[bytes]:
        for file in self._files():
            # One that cannot be read is as good as damaged.
            with suppress(OSError):
                yield file.read_bytes()

    def damaged(self) -> list[Path]:
        """Return the incomplete or changed files of all workers."""
        return [file for file in self._files() if not _is_whole(file)]

    def _workers(self) -> list[Path]:
        """Return the folders of all workers that wrote, latest first."""
        return sorted(self._training.glob("[0-9]*"), key=lambda folder: int(folder.name), reverse=True)

    def _files(self) -> list[Path]:
        """Return the files of all states, latest first."""
        files = (worker / name for worker in self._workers() for name in ("latest", "previous"))
        return [file for file in files if file.exists()]

    @property
    def _latest(self) -> Path:
        return self._folder / "latest"

    def write(self, digest: bytes, content: bytes) -> bool:
        try:
            self._replace(digest, content)
            return True
        except OSError as error:
            raise StorageError(
                f"Cannot write a checkpoint to {self._folder} ({error.strerror}). Set that right, then type: "
                "frostline resume"
            ) from error

    def _replace(self, digest: bytes, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = self._folder / "part"
        with part.open("wb") as file:
            file.write(digest)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if self._latest.exists():
            self._latest.replace(self._folder / "previous")
            # This worker has two now: those of earlier workers are not needed.
            for older in self._workers():
                if int(older.name) < int(self._folder.name):
                    shutil.rmtree(older, ignore_errors=True)
        part.replace(self._latest)


class CheckpointObjects(Checkpoints):
    """Checkpoints as objects of an fsspec file system.

    **Guarantees:** those of :class:`Checkpoints`. No object is written twice. Object stores make an object visible only
    when it is complete; on file systems that do not, the digest detects incomplete ones.

    Args:
        files: fsspec file system.
        root: Existing path in the file system.
        folder: Path of this training alone, below the root.
        token: Fencing token of the lease; increases with each worker.
    """

    def __init__(self, files: Any, root: str, folder: str, token: int = 0) -> None:
        self._files = files
        self._root = root
        self._folder = f"{root}/{folder}"
        self._token = token
        self._own: list[str] = []
        self._written = 0

    def remove(self) -> None:
        # Save a request: the first worker wrote nothing, so there is nothing to remove.
        if self._own or self._token > 1:
            with suppress(FileNotFoundError):
                self._files.rm(self._folder, recursive=True)

    def write(self, digest: bytes, content: bytes) -> bool:
        name = f"{self._folder}/{self._token:010d}-{self._written:010d}"
        try:
            self._files.pipe_file(name, digest + content)
        except FileNotFoundError:
            self._make_folders()
            self._files.pipe_file(name, digest + content)
        self._written += 1
        self._own.append(name)
        self._tidy()
        return True

    def _make_folders(self) -> None:
        """Create the folders below the root, but never the root itself: it may be mistyped, or a bucket."""
        path = self._root
        for part in self._folder.removeprefix(f"{self._root}/").split("/"):
            path = f"{path}/{part}"
            with suppress(FileExistsError):
                self._files.mkdir(path, create_parents=False)

    def _tidy(self) -> None:
        """Delete all but this worker's latest two, and those of earlier workers once it has two."""
        outdated, self._own = self._own[:-2], self._own[-2:]
        if self._written == 2:
            outdated += [name for name in self._names() if name.rpartition("/")[2] < f"{self._token:010d}"]
        if outdated:
            self._files.rm(outdated)

    def contents(self) -> Iterator[bytes]:
        for name in self._names():
            with suppress(FileNotFoundError):
                yield self._files.cat_file(name)

    def _names(self) -> list[str]:
        """Return the names of all states, latest first."""
        names = list_objects(self._files, self._folder)
        return sorted((name for name in names if _OBJECT.fullmatch(name.rpartition("/")[2])), reverse=True)


def list_objects(files: Any, folder: str) -> list[str]:
    """Return the current paths in a folder, uncached; empty if the folder is missing."""
    files.invalidate_cache()
    try:
        return files.ls(folder, detail=False)
    except FileNotFoundError:
        return []


def _is_whole(file: Path) -> bool:
    try:
        return _whole(file.read_bytes()) is not None
    except OSError:
        return False


def _whole(content: bytes) -> bytes | None:
    """Return the state without its digest; None if the digest does not match."""
    state = content[_DIGEST:]
    return state if content[:_DIGEST] == hashlib.sha256(state).digest() else None
