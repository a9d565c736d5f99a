"""The lock of a study: at most one process of a workspace works on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from .errors import StudyBusyError
from .workspace import Workspace


@contextmanager
def exclusive(workspace: Workspace, study: str) -> Iterator[None]:
    """Lock a study for a ``with`` block. The operating system releases the lock when the process ends, even if killed.

    Args:
        workspace: Workspace of the study.
        study: Name of the study.

    Raises:
        StudyBusyError: Another process holds the lock.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from frostline.storage.locks import exclusive
        >>> from frostline.storage.workspace import Workspace
        >>> with TemporaryDirectory() as folder, exclusive(Workspace(Path(folder)), "flowers"):
        ...     print("locked")
        locked
    """
    lock = FileLock(workspace.lock(f"study-{study}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyBusyError(
            f"Another process is working on study {study!r}. Watch it with: frostline status {study} --watch; "
            "or start another study: frostline search DATA --name ANOTHER"
        ) from None
    try:
        yield
    finally:
        lock.release()
