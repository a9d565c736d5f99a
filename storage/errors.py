"""Errors of the storage layer.

StorageError
├── UnusableError       the user named a place or a value that cannot be used
│   └── SchemaError     the tables are not those that this version knows, Optuna's or our own
├── StudyBusyError      another process works on the study
├── UnreachableError    a database or tracking server does not answer
│   ├── LostConnectionError     the connection broke; a retry may succeed
│   └── NoDatabaseError         what the user named is no database that can be used; an UnusableError too
├── LeaseLostError      another worker has the trial now
└── RefusedError        a tracking server rejects what it was sent
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

# Errors of disks, permissions and limits; others may be bugs.
_MACHINE = {
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "EFBIG", "EMFILE", "ENFILE", "ENOMEM", "ESTALE")
    if hasattr(errno, name)
}


class StorageError(Exception):
    """Base class of the errors of this layer; the message says what to do."""


class UnusableError(StorageError):
    """The user named a place or a value that cannot be used; nothing was made. The message says what to name."""


class StudyBusyError(StorageError):
    """Another process is working on the study."""


class UnreachableError(StorageError):
    """A database or tracking server does not answer. The message contains no secret of its URL."""


class LostConnectionError(UnreachableError):
    """The connection to a database broke, or the database was busy; a retry may succeed."""


class NoDatabaseError(UnreachableError, UnusableError):
    """A URL names no database that can be used: it is no URL, its driver or folder is missing, its file damaged."""


class LeaseLostError(StorageError):
    """Another worker holds a ticket now; this worker must not write its results.

    Args:
        numbers: Numbers of the lost tickets.

    Attributes:
        numbers: The same numbers, as a set.

    Examples:
        >>> from frostline.storage.errors import LeaseLostError
        >>> str(LeaseLostError([7, 3]))
        'Ticket 3, 7 was taken over by another worker.'
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = frozenset(numbers)
        super().__init__(f"Ticket {', '.join(map(str, sorted(self.numbers)))} was taken over by another worker.")


class RefusedError(StorageError):
    """A tracking server answers but rejects what it was sent; a retry would not help."""


class SchemaError(UnusableError):
    """The tables, Optuna's or our own, are not those that this version knows; the message says what to install."""


def machine_fault(error: BaseException) -> str | None:
    """Return a sentence about an error that the machine causes: a full disk, a lost permission, a limit.

    Args:
        error: Error of the operating system, or of an allocation.

    Returns:
        None for other errors.

    Examples:
        >>> import errno
        >>> from frostline.storage.errors import machine_fault
        >>> machine_fault(OSError(errno.ENOSPC, "No space left on device", "/data/runs/a.npy"))
        'No space left on device: /data/runs/a.npy.'
        >>> machine_fault(FileNotFoundError(errno.ENOENT, "No such file or directory", "a.npy")) is None
        True
    """
    if isinstance(error, MemoryError):
        return "This machine is out of memory."
    if not isinstance(error, OSError) or error.errno not in _MACHINE:
        return None
    place = f": {os.fspath(error.filename)}" if isinstance(error.filename, str | os.PathLike) else ""
    return f"{error.strerror}{place}."
