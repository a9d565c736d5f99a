"""Errors of the storage layer.

StorageError
├── StudyBusyError      another process works on the study
├── UnreachableError    a database or tracking server does not answer
│   └── LostConnectionError     the connection broke: the same again may succeed
├── LeaseLostError      another worker has the trial now
└── RefusedError        a tracking server answers, but does not take what it was sent
"""

from __future__ import annotations


class StorageError(Exception):
    """Root of what this layer raises on purpose; the message says what to do."""


class StudyBusyError(StorageError):
    """Another process works on the study."""


class UnreachableError(StorageError):
    """A database or tracking server does not answer; no secret of its URL is in the message."""


class LostConnectionError(UnreachableError):
    """The connection to a database broke, or it was busy with others: the same again may succeed."""


class LeaseLostError(StorageError):
    """Another worker has the trial now: whatever this one still knows of it must not be written."""


class RefusedError(StorageError):
    """A tracking server answers, but does not take what it was sent, now or later."""
