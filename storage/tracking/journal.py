"""The journal of a study: an append-only file of log records for MLflow, so that training never waits for MLflow.

A line is one JSON record with a sequence number and, as its last entry, a checksum. An interrupted write leaves an
incomplete last line, which is removed when the file is next opened. A damaged line elsewhere is skipped and counted.
Markers of uploaded records are lines of the same file, so no second file can disagree. Uploaded records are dropped
from time to time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..errors import StorageError
from .journal_records import (
    AGAIN,
    ALONE,
    FINISH,
    KILLED,
    MARKS,
    READMITTED,
    REFUSED,
    SENT,
    START,
    JournalRecord,
    Refusal,
    read_line,
    to_line,
)

# A file larger than this whose records are all uploaded is rewritten without them.
COMPACT_BYTES = 1 << 20
# Bytes to read at once: some hundreds of epochs.
_WINDOW_BYTES = 1 << 18


@dataclass(frozen=True)
class Batch:
    """Records to send together.

    Attributes:
        records: Records in the order in which they were appended.
        end: Offset in bytes of the end of the last record in the file.
    """

    records: list[JournalRecord]
    end: int


class Journal:
    """The journal file of one study.

    **Guarantees:**

    - A record that :meth:`append` returned from survives the end of the process, kill -9 included. It is not flushed to
      the disk: a power failure may lose the last seconds of curves. The scores are in the study's database.
    - A record is complete or absent: an incomplete or changed line is never returned.
    - Records are sent in order and at least once: those sent but not marked before a kill are sent again.
    - One process at a time may open a journal; the study's lock ensures this. Any of its threads may append; one thread
      sends. Other processes may read with :func:`~.unsent_records.read_unsent`.
    - The file is rewritten in one step (rename): a kill leaves the old file or the new one.

    Args:
        path: Path of the file; created with the first record.

    Attributes:
        damaged: Number of lines that failed their check and may not have been uploaded.
        refused: Records that MLflow refused, which are kept.

    Raises:
        StorageError: The file cannot be read.

    Examples:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from frostline.storage.tracking.journal import Journal
        >>> from frostline.storage.tracking.journal_records import STEP
        >>> with TemporaryDirectory() as folder:
        ...     journal = Journal(Path(folder) / "flowers.jsonl")
        ...     journal.append(STEP, "trial-0", step=1, metrics={"score": 0.9})
        ...     batch = journal.unsent()
        ...     journal.mark_sent(batch)
        ...     journal.close()
        >>> batch.records[0].content
        {'step': 1, 'metrics': {'score': 0.9}}
        >>> journal.pending
        0
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: int | None = None
        self._closed = False
        # Numbers of the last record and of the last sent one; offsets of the end and of the first unsent record.
        self._seq = self._sent = 0
        self._end = self._position = 0
        self._open: dict[str, JournalRecord] = {}
        # Start and finish records of interrupted runs.
        self._cut_off: dict[str, tuple[JournalRecord, JournalRecord]] = {}
        self.damaged = 0
        self.refused: list[Refusal] = []
        with self._explained():
            if path.exists():
                self._recover()

    def append(self, kind: str, key: str, **content: Any) -> None:
        """Append a record with the current time.

        Args:
            kind: Kind of the record, see :class:`CheckpointRecord`.
            key: Key of the run.
            **content: Plain values of the record.

        Raises:
            StorageError: The file cannot be written, or the journal is closed.
        """
        with self._lock, self._explained():
            self._add(JournalRecord(self._seq + 1, kind, key, int(time.time() * 1000), content))

    def unsent(self) -> Batch:
        """Return the next records to send; empty if all are sent. One thread may call this while others append.

        Raises:
            StorageError: The file cannot be read.
        """
        with self._explained():
            while self._position < self._end:
                batch = self._next_batch(self._window())
                if batch.records:
                    return batch
                self._position = batch.end
            return Batch([], self._end)

    def mark_sent(self, batch: Batch, refused: Mapping[int, str] | None = None) -> None:
        """Mark a batch as uploaded; a large file whose records are all uploaded is rewritten without them.

        Args:
            batch: Uploaded records.
            refused: Why MLflow refused some of them, by sequence number; these are kept.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._lock, self._explained():
            for record in batch.records:
                if why := (refused or {}).get(record.seq):
                    self._add(Refusal(record, why).to_record())
            self._sent, self._position = batch.records[-1].seq, batch.end
            self._write(to_line(self._marker()))
            if not self.pending and self._end > COMPACT_BYTES:
                self._compact()

    def readmit(self) -> None:
        """Append the refused records once more, to be sent again.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._lock, self._explained():
            for record in [refusal.record for refusal in self.refused]:
                again = {**record.content, AGAIN: True}
                self._add(JournalRecord(self._seq + 1, record.kind, record.key, record.time, again))
            if self.refused:
                self._add(JournalRecord(self._sent, READMITTED, "", int(time.time() * 1000), {}))

    @property
    def pending(self) -> int:
        """Number of records that have not been sent; refused ones do not count."""
        return self._seq - self._sent

    def open_keys(self) -> list[str]:
        """Return the keys of the runs that were started and not finished."""
        with self._lock:
            return list(self._open)

    def cut_off_keys(self) -> list[str]:
        """Return the keys of the runs that were finished as killed and not restarted."""
        with self._lock:
            return list(self._cut_off)

    def close(self) -> None:
        """Drop uploaded records, and close the file.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._lock, self._explained():
            if self._end and not self.pending:
                self._compact()
            self._let_go()
            self._closed = True

    def _recover(self) -> None:
        """Read the file, and remove an incomplete last line of a killed process."""
        damaged_after: list[int] = []
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._end += len(line)
                record = read_line(line)
                if record is None:
                    damaged_after.append(self._seq)
                else:
                    self._note(record)
        self.damaged = sum(seq >= self._sent for seq in damaged_after)
        os.truncate(self._path, self._end)

    def _note(self, record: JournalRecord) -> None:
        self._seq = max(self._seq, record.seq)
        if record.kind == SENT:
            self._sent = record.seq
        elif record.kind == REFUSED:
            self.refused.append(Refusal.of(record))
        elif record.kind == READMITTED:
            self.refused = []
        elif AGAIN in record.content:
            return
        elif record.kind == START:
            self._open[record.key] = record
            self._cut_off.pop(record.key, None)
        elif record.kind == FINISH:
            before, _ = self._cut_off.pop(record.key, (None, None))
            started = self._open.pop(record.key, before)
            if started is not None and record.content.get("status") == KILLED:
                self._cut_off[record.key] = started, record

    def _window(self) -> list[bytes]:
        """Return complete lines, from the first that may be unsent."""
        left = self._end - self._position
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines = file.readlines(min(left, _WINDOW_BYTES))
        # Lines that another thread appends meanwhile belong to the next window.
        ends = accumulate(map(len, lines))
        return [line for line, end in zip(lines, ends, strict=True) if end <= left]

    def _next_batch(self, lines: list[bytes]) -> Batch:
        """Return the unsent records of these lines, up to a record that is sent alone."""
        waiting: list[JournalRecord] = []
        end = self._position
        for line in lines:
            record = read_line(line)
            if record is not None and record.kind not in MARKS and record.seq > self._sent:
                if waiting and (record.kind in ALONE or waiting[-1].kind in ALONE):
                    break
                waiting.append(record)
            end += len(line)
        return Batch(waiting, end)

    def _add(self, record: JournalRecord) -> None:
        self._write(to_line(record))
        self._note(record)

    def _write(self, line: bytes) -> None:
        # Another process may have opened the file since.
        if self._closed:
            raise StorageError(f"The journal {self._path} is closed.")
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            rest = line
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            # On a full disk, part of the line may have been written.
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(line)

    def _marker(self) -> JournalRecord:
        return JournalRecord(self._sent, SENT, "", int(time.time() * 1000), {})

    def _compact(self) -> None:
        """Rewrite the file with the records of unfinished and interrupted runs, refused ones, and the last number."""
        cut_off = [record for records in self._cut_off.values() for record in records]
        refused = [refusal.to_record() for refusal in self.refused]
        content = b"".join(map(to_line, [*self._open.values(), *cut_off, *refused, self._marker()]))
        new = self._path.with_suffix(".new")
        new.write_bytes(content)
        new.replace(self._path)
        self._let_go()
        self._end = self._position = len(content)

    def _let_go(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"The journal {self._path} cannot be used: {error.strerror}.") from error
