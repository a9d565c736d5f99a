"""What of a journal is not in MLflow, for readers beside the process that appends."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError
from .journal_records import READMITTED, REFUSED, SENT, JournalRecord, Refusal, read_line


@dataclass(frozen=True)
class Unsent:
    """What of a journal is not in MLflow.

    Attributes:
        records: Records that were not sent.
        refused: Records that MLflow refused.
        damaged: Number of damaged lines that may not have been sent.
    """

    records: list[JournalRecord]
    refused: list[Refusal]
    damaged: int


def read_unsent(path: Path) -> Unsent:
    """Read the unsent records of a journal without changing it, while another process may be appending.

    Args:
        path: Path of the journal.

    Raises:
        StorageError: The file cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise StorageError(f"The journal {path} cannot be used: {error.strerror}.") from error
    records: list[JournalRecord] = []
    refused: list[Refusal] = []
    damaged_after: list[int] = []
    seq = sent = 0
    for line in lines:
        record = read_line(line) if line.endswith(b"\n") else None
        if record is None:
            damaged_after += [seq] if line.endswith(b"\n") else []
        elif record.kind == SENT:
            sent = record.seq
        elif record.kind == REFUSED:
            refused.append(Refusal.of(record))
        elif record.kind == READMITTED:
            refused = []
        else:
            records.append(record)
        seq = max(seq, record.seq if record else 0)
    unsent = [record for record in records if record.seq > sent]
    return Unsent(unsent, refused, sum(after >= sent for after in damaged_after))
