"""Checkpoints of trainings under way: two generations a training, each written whole, with a checksum.

Every worker that carries a training writes to a folder of its own, by the token of its lease: one that was thought
dead and comes back cannot touch what its successor wrote. Where there are no folders, it writes under names that
begin with the token.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import StorageError

# Seconds to the first checkpoint of a training, and from one to the next, at least; and the share of the time that
# checkpoints may take: after a slow one, the next waits longer.
INTERVAL = float(os.environ.get("FROSTLINE_CHECKPOINT_SECONDS", "5"))
SHARE = 0.1
_DIGEST = hashlib.sha256().digest_size
_OBJECT = re.compile(r"\d{10}-\d{10}")


class Checkpoints(ABC):
    """The checkpoints of one training. A training that is over before the first is due writes none."""

    def __init__(self) -> None:
        self._due = time.monotonic() + INTERVAL

    def hasten(self) -> None:
        """Keep the next state, however old the last one is."""
        self._due = 0.0

    def save(self, state: Callable[[], bytes], *, now: bool = False) -> bool:
        """Keep a state if the last one is old enough; the one before it stays beside it.

        Args:
            state: Makes it.
            now: However old the last one is: the training is about to be cut off.

        Returns:
            Whether it is there now.

        Raises:
            StorageError: It cannot be written.
        """
        began = time.monotonic()
        if began < self._due and not now:
            return False
        content = state()
        try:
            return self.write(hashlib.sha256(content).digest(), content)
        finally:
            ended = time.monotonic()
            self._due = ended + max(INTERVAL, (ended - began) / SHARE)

    def load(self) -> bytes | None:
        """The latest state that is whole, of whichever worker; None if there is none."""
        for content in self.contents():
            if (state := _whole(content)) is not None:
                return state
        return None

    @abstractmethod
    def remove(self) -> None:
        """The training is over."""

    @abstractmethod
    def write(self, digest: bytes, content: bytes) -> bool:
        """Keep a state after its digest, and the one before it; those before that go. Whether it is there."""

    @abstractmethod
    def contents(self) -> Iterator[bytes]:
        """What was written, digest first, the latest first; it may be torn."""


class CheckpointFolder(Checkpoints):
    """Checkpoints as files, moved into place.

    Args:
        folder: Of this training alone; made with the first checkpoint.
        token: Of the lease; larger with each worker.
    """

    def __init__(self, folder: Path, token: int = 0) -> None:
        super().__init__()
        self._training = folder
        self._folder = folder / str(token)

    def remove(self) -> None:
        shutil.rmtree(self._training, ignore_errors=True)

    def contents(self) -> Iterator[bytes]:
        for file in self._files():
            yield file.read_bytes()

    def damaged(self) -> list[Path]:
        """Files that are not whole, of whichever worker."""
        return [file for file in self._files() if _whole(file.read_bytes()) is None]

    def _workers(self) -> list[Path]:
        """Folders of the workers that wrote something, the latest first."""
        return sorted(self._training.glob("[0-9]*"), key=lambda folder: int(folder.name), reverse=True)

    def _files(self) -> list[Path]:
        """States, the latest first."""
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
                f"No checkpoint can be written to {self._folder} ({error.strerror}). Make room there; go on with: "
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
            # With two of our own, those of earlier workers are not needed.
            for older in self._workers():
                if int(older.name) < int(self._folder.name):
                    shutil.rmtree(older, ignore_errors=True)
        part.replace(self._latest)


class CheckpointObjects(Checkpoints):
    """Checkpoints as objects of an fsspec file system, none of which is written twice.

    Object stores have no renaming, but an object is there whole or not at all; where that does not hold, the digest
    tells.

    Args:
        files: The file system.
        root: A path in it that is there.
        folder: Of this training alone, below the root.
        token: Of the lease; larger with each worker.
    """

    def __init__(self, files: Any, root: str, folder: str, token: int = 0) -> None:
        super().__init__()
        self._files = files
        self._root = root
        self._folder = f"{root}/{folder}"
        self._token = token
        self._own: list[str] = []
        self._written = 0

    def remove(self) -> None:
        # The first worker, if it wrote nothing, need not ask a server.
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
        """Those below the root, for file systems that have folders; what a user mistyped, or a bucket, is not made."""
        path = self._root
        for part in self._folder.removeprefix(f"{self._root}/").split("/"):
            path = f"{path}/{part}"
            with suppress(FileExistsError):
                self._files.mkdir(path, create_parents=False)

    def _tidy(self) -> None:
        """With two of our own, those of earlier workers are not needed, nor our own before them."""
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
        """Of what was written, the latest first."""
        names = list_objects(self._files, self._folder)
        return sorted((name for name in names if _OBJECT.fullmatch(name.rpartition("/")[2])), reverse=True)


def list_objects(files: Any, folder: str) -> list[str]:
    """Paths of what is in a folder now, whoever wrote it; none where there is no such folder."""
    files.invalidate_cache()
    try:
        return files.ls(folder, detail=False)
    except FileNotFoundError:
        return []


def _whole(content: bytes) -> bytes | None:
    """The state after its digest, if that fits."""
    state = content[_DIGEST:]
    return state if content[:_DIGEST] == hashlib.sha256(state).digest() else None
