"""Errors of the storage layer.

StorageError
├── StudyBusyError      another process works on the study
├── UnreachableError    a database or tracking server does not answer
│   └── LostConnectionError     the connection broke: the same again may succeed
├── LeaseLostError      another worker has the trial now
└── RefusedError        a tracking server answers, but does not take what it was sent
"""

from __future__ import annotations

from collections.abc import Iterable


class StorageError(Exception):
    """Root of what this layer raises on purpose; the message says what to do."""


class StudyBusyError(StorageError):
    """Another process works on the study."""


class UnreachableError(StorageError):
    """A database or tracking server does not answer; no secret of its URL is in the message."""


class LostConnectionError(UnreachableError):
    """The connection to a database broke, or it was busy with others: the same again may succeed."""


class LeaseLostError(StorageError):
    """Another worker has a ticket now: whatever this one still knows of it must not be written.

    Args:
        numbers: Of the tickets.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = frozenset(numbers)
        super().__init__(f"Ticket {', '.join(map(str, sorted(self.numbers)))} was taken over by another worker.")


class RefusedError(StorageError):
    """A tracking server answers, but does not take what it was sent, now or later."""
