"""Checkpoint stores: a folder of the workspace, or a URL that all machines of a study can reach.

The URL is a shared folder or any fsspec URL: ``s3://``, ``gs://``, ``sftp://``, ... If checkpoints cannot be written or
read there, the search prints a note and continues without them.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Protocol

from ..errors import StorageError
from ..urls import hide_secrets, safe_url
from .checkpoints import CheckpointFolder, CheckpointObjects, Checkpoints, list_objects

Note = Callable[[str], None]
# Folder below the URL, which may hold other files.
_KIND = "checkpoints"


class CheckpointPlace(Protocol):
    """A store for the checkpoints of a study's trainings."""

    def checkpoints(self, key: str, token: int) -> Checkpoints:
        """Return the checkpoints of the training ``key``, for the worker whose lease has this token."""
        ...

    def sweep(self, ended: Collection[str]) -> None:
        """Remove the checkpoints of the trainings that have ended, given by their keys."""
        ...


class LocalCheckpoints:
    """Checkpoints in a folder.

    Args:
        folder: Folder of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoints(self, key: str, token: int) -> Checkpoints:
        return CheckpointFolder(self._folder / key, token)

    def sweep(self, ended: Collection[str]) -> None:
        for key in ended:
            shutil.rmtree(self._folder / key, ignore_errors=True)


class ObjectStoreCheckpoints:
    """Checkpoints below a path of an fsspec file system.

    Args:
        files: fsspec file system.
        root: Existing path in the file system.
        folder: Path of the study, below the root.
    """

    def __init__(self, files: Any, root: str, folder: str) -> None:
        self._files = files
        self._root = root
        self._folder = folder

    def checkpoints(self, key: str, token: int) -> Checkpoints:
        return CheckpointObjects(self._files, self._root, f"{self._folder}/{key}", token)

    def sweep(self, ended: Collection[str]) -> None:
        for path in list_objects(self._files, f"{self._root}/{self._folder}"):
            if path.rstrip("/").rpartition("/")[2] in ended:
                self._files.rm(path, recursive=True)


class FaultTolerantCheckpoints:
    """Checkpoints at a URL, where errors do not stop the search.

    **Guarantees:** no method raises because of the store: the first error is reported as a note, without secrets of the
    URL; later ones are ignored. Checkpoints that cannot be written or read are treated as missing.

    Args:
        url: URL or folder.
        study: Folder of the study below the URL.
        note: Function that receives the message about the first error.
    """

    def __init__(self, url: str, study: str, note: Note) -> None:
        self._url = url
        self._study = study
        self._note = note
        self._told = False

    def checkpoints(self, key: str, token: int) -> Checkpoints:
        return _Forgiving(self.attempt(lambda: open_place(self._url, self._study).checkpoints(key, token)), self)

    def sweep(self, ended: Collection[str]) -> None:
        self.attempt(lambda: open_place(self._url, self._study).sweep(ended))

    def attempt(self, work: Callable[[], Any]) -> Any:
        """Return the result of ``work``; None if it raises. File systems raise many kinds of errors."""
        try:
            return work()
        except Exception as error:
            if not self._told:
                self._told = True
                self._note(
                    f"Cannot save checkpoints at {safe_url(self._url)} ({_reason(error, self._url)}). "
                    "The search continues; interrupted trials will restart from epoch 0."
                )
            return None


class _Forgiving(Checkpoints):
    """Checkpoints whose errors are reported to a :class:`FaultTolerantCheckpoints`.

    Args:
        inner: Checkpoints in the store; None if it could not be opened.
        place: Store that reports errors.
    """

    def __init__(self, inner: Checkpoints | None, place: FaultTolerantCheckpoints) -> None:
        self._inner = inner
        self._place = place

    def remove(self) -> None:
        if self._inner is not None:
            self._place.attempt(self._inner.remove)

    def write(self, digest: bytes, content: bytes) -> bool:
        inner = self._inner
        return inner is not None and bool(self._place.attempt(lambda: inner.write(digest, content)))

    def contents(self) -> Iterator[bytes]:
        every = iter(()) if self._inner is None else self._inner.contents()
        while (content := self._place.attempt(lambda: next(every, None))) is not None:
            yield content


def checkpoint_place(folder: Path, url: str | None, study: str, note: Note) -> CheckpointPlace:
    """Return the store of a study's checkpoints.

    Args:
        folder: Folder of the study in the workspace, used without a URL.
        url: URL or folder that machines share; None for the workspace.
        study: Folder of the study below the URL.
        note: Function that receives the message about the URL's first error.
    """
    return LocalCheckpoints(folder) if url is None else FaultTolerantCheckpoints(url, study, note)


def open_place(url: str, study: str) -> CheckpointPlace:
    """Return the store of a study below a URL; raises the errors of the file system."""
    # Imported here: most searches do not need fsspec.
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    files, path = url_to_fs(url)
    if isinstance(files, LocalFileSystem):
        _require_parent(Path(path))
        return LocalCheckpoints(Path(path) / _KIND / study)
    return ObjectStoreCheckpoints(files, path.rstrip("/"), f"{_KIND}/{study}")


def artifacts_fault(url: str) -> str | None:
    """Test a URL by writing, reading and removing a checkpoint.

    Args:
        url: URL or folder.

    Returns:
        None if it works; otherwise a message without secrets of the URL.
    """
    content, key = secrets.token_bytes(64), f"probe-{secrets.token_hex(8)}"
    try:
        place = open_place(url, "probes")
        place.checkpoints(key, 1).save(content)
        found = place.checkpoints(key, 2)
        same = found.load() == content
        found.remove()
    # File systems raise many kinds of errors.
    except Exception as error:
        reason = _reason(error, url)
    else:
        if same:
            return None
        reason = "the data read differ from the data written"
    return (
        f"Cannot save checkpoints in {safe_url(url)}: {reason}. "
        "Name a folder or URL that this machine can write to with --artifacts or FROSTLINE_ARTIFACTS."
    )


def _require_parent(folder: Path) -> None:
    """Check that the parent of a shared folder exists: if it is missing, a disk may not be mounted.

    Raises:
        FileNotFoundError: The parent folder is missing.
    """
    if not folder.is_dir() and not folder.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {folder.parent}")


def _reason(error: Exception, url: str) -> str:
    """Return the reason of an error in one line, without secrets of the URL."""
    cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    lines = str(cause).strip().splitlines()
    said = getattr(cause, "strerror", None) or (lines[0].rstrip(".") if lines else type(cause).__name__)
    return hide_secrets(said, url)
