"""Who may work on a study: one process of a machine at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from .errors import StudyBusyError
from .workspace import Workspace


@contextmanager
def exclusive(workspace: Workspace, study: str) -> Iterator[None]:
    """Hold a study; the operating system lets go when the process ends, however it ends.

    Raises:
        StudyBusyError: Another process holds it.
    """
    lock = FileLock(workspace.lock(f"study-{study}"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise StudyBusyError(
            f"Study {study!r} is being worked on by another process. "
            f"Watch it with: frostline status {study} --watch; or begin another: frostline search DATA --name ANOTHER"
        ) from None
    try:
        yield
    finally:
        lock.release()
