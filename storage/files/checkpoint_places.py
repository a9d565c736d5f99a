"""Where the checkpoints of a study are: in a machine's workspace, or at a URL that all its machines reach.

Such a URL is a shared folder or anything that fsspec knows: ``s3://``, ``gs://``, ``sftp://``, ... A checkpoint is a
convenience there: where it cannot be kept or found, the search says so and goes on.
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
# Folder below a URL: there may be other things.
_KIND = "checkpoints"


class CheckpointPlace(Protocol):
    """Where a study's trainings keep their checkpoints."""

    def checkpoints(self, key: str, token: int) -> Checkpoints:
        """Of the training of a key, for who has it by the lease of this token."""
        ...

    def sweep(self, ended: Collection[str]) -> None:
        """Remove what trainings left that have ended."""
        ...


class FolderPlace:
    """A folder.

    Args:
        folder: Of the study.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoints(self, key: str, token: int) -> Checkpoints:
        return CheckpointFolder(self._folder / key, token)

    def sweep(self, ended: Collection[str]) -> None:
        for key in ended:
            shutil.rmtree(self._folder / key, ignore_errors=True)


class ObjectPlace:
    """A path of an fsspec file system.

    Args:
        files: The file system.
        root: The path.
        folder: Of the study, below it.
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


class SharedPlace:
    """A place at a URL; what goes wrong there is told once, and nothing else comes of it.

    Args:
        url: The URL.
        study: Folder of the study below it.
        note: Told.
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
        """What work gives; None where it fails: each file system has errors of its own kinds."""
        try:
            return work()
        except Exception as error:
            if not self._told:
                self._told = True
                self._note(
                    f"checkpoints cannot be kept at {safe_url(self._url)} just now ({_reason(error, self._url)}): "
                    "the search goes on, and what is cut off meanwhile begins anew"
                )
            return None


class _Forgiving(Checkpoints):
    """Checkpoints that are kept and found where that is possible.

    Args:
        inner: What they are; None where the place could not be opened.
        place: Told what goes wrong.
    """

    def __init__(self, inner: Checkpoints | None, place: SharedPlace) -> None:
        super().__init__()
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
    """Where a study's checkpoints are.

    Args:
        folder: Of the study in the workspace, where there is no URL.
        url: Of a place that machines share.
        study: Folder of the study below it.
        note: Told once when that place cannot be used.
    """
    return FolderPlace(folder) if url is None else SharedPlace(url, study, note)


def open_place(url: str, study: str) -> CheckpointPlace:
    """The place of a study below a URL; raises what the file system does."""
    # Imported here: most searches do without.
    from fsspec.core import url_to_fs
    from fsspec.implementations.local import LocalFileSystem

    files, path = url_to_fs(url)
    if isinstance(files, LocalFileSystem):
        _require_parent(Path(path))
        return FolderPlace(Path(path) / _KIND / study)
    return ObjectPlace(files, path.rstrip("/"), f"{_KIND}/{study}")


def artifacts_fault(url: str) -> str | None:
    """Why no checkpoints can be kept at a URL, without what of it is secret: one is written, read and removed."""
    content, key = secrets.token_bytes(64), f"probe-{secrets.token_hex(8)}"
    try:
        place = open_place(url, "probes")
        place.checkpoints(key, 1).save(lambda: content, now=True)
        found = place.checkpoints(key, 2)
        same = found.load() == content
        found.remove()
    except Exception as error:
        reason = _reason(error, url)
    else:
        if same:
            return None
        reason = "what was written is not what is read"
    return (
        f"Checkpoints cannot be kept in {safe_url(url)}: {reason}. "
        "Name a folder or URL that this machine can write to with --artifacts or FROSTLINE_ARTIFACTS."
    )


def _require_parent(folder: Path) -> None:
    """A folder of machines is not made where its parent is missing: a disk may not be mounted.

    Raises:
        FileNotFoundError: It is.
    """
    if not folder.is_dir() and not folder.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {folder.parent}")


def _reason(error: Exception, url: str) -> str:
    """Of a failure, in a line, without what of the URL is secret."""
    cause = error.__cause__ if isinstance(error, StorageError) and error.__cause__ else error
    lines = str(cause).strip().splitlines()
    said = getattr(cause, "strerror", None) or (lines[0].rstrip(".") if lines else type(cause).__name__)
    return hide_secrets(said, url)
