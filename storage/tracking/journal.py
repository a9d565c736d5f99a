"""The journal of a study: an append-only file of log records for MLflow, so that training never waits for MLflow.

A line is one JSON record with a sequence number and, as its last entry, a checksum. An interrupted write leaves an
incomplete last line, which is removed when the file is next opened. A damaged line elsewhere is skipped and counted.
Markers of uploaded records are lines of the same file, so no second file can disagree. Uploaded records are dropped
from time to time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
from .line_file import LineFile

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
    - If the file is deleted while the journal is open, it is written again without loss.

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
        self._file = LineFile(path)
        self._lock = threading.Lock()
        self._closed = False
        # Numbers of the last record and of the last sent one; offset of the first unsent record.
        self._seq = self._sent = 0
        self._position = 0
        self._open: dict[str, JournalRecord] = {}
        # Start and finish records of interrupted runs.
        self._cut_off: dict[str, tuple[JournalRecord, JournalRecord]] = {}
        self.damaged = 0
        self.refused: list[Refusal] = []
        with self._explained():
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
            while lines := self._window():
                batch = self._next_batch(lines)
                if batch.records:
                    return batch
                self._position = batch.end
            return Batch([], self._position)

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
            if not self.pending and self._file.size > COMPACT_BYTES:
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

    def may_lack_records(self, alone: bool) -> bool:
        """Return whether an earlier process may have appended records that are lost, as after a power failure.

        Args:
            alone: Whether no other machine has a journal of the study, so that this one is not missing for that reason.
        """
        return self.damaged > 0 or self._file.torn or (self._file.missing and alone)

    def close(self) -> None:
        """Drop uploaded records, and close the file.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._lock, self._explained():
            if self._file.size:
                self._file.keep()
                if not self.pending:
                    self._compact()
            self._file.close()
            self._closed = True

    def _recover(self) -> None:
        """Read the file, and remove an incomplete last line of a killed process."""
        damaged_after: list[int] = []
        for line in self._file.recover():
            record = read_line(line)
            if record is None:
                damaged_after.append(self._seq)
            else:
                self._note(record)
        self.damaged = sum(seq >= self._sent for seq in damaged_after)

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
        # Another thread may be appending.
        with self._lock:
            return self._file.read(self._position, _WINDOW_BYTES) if self._position < self._file.size else []

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
        self._file.append(line)

    def _marker(self) -> JournalRecord:
        return JournalRecord(self._sent, SENT, "", int(time.time() * 1000), {})

    def _compact(self) -> None:
        """Rewrite the file with the records of unfinished and interrupted runs, refused ones, and the last number."""
        cut_off = [record for records in self._cut_off.values() for record in records]
        refused = [refusal.to_record() for refusal in self.refused]
        content = b"".join(map(to_line, [*self._open.values(), *cut_off, *refused, self._marker()]))
        self._file.rewrite(content)
        self._position = len(content)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"The journal {self._path} cannot be used: {error.strerror}.") from error
