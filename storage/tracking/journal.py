"""The journal of a study: what MLflow shall show, appended to a file first, so that nothing waits for MLflow.

A line is one JSON record, numbered, with a checksum as its last entry. A write that was cut off leaves a torn last
line, which is cut off when the file is next opened; a damaged line anywhere else is left out and counted. What has
been sent is noted in the same file, so that no second file can disagree with it, and dropped from time to time.
"""

from __future__ import annotations

import json
import os
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..errors import StorageError

START, STEP, SUMMARY, TEXT, FILE, FINISH = "start", "step", "summary", "text", "file", "finish"
DATASETS, MODEL = "datasets", "model"
_SENT = "sent"
# MLflow's status of a run that was cut off.
KILLED = "KILLED"
# What takes long to send goes alone, so that it is noted when it has arrived.
_ALONE = {MODEL}
# A file that holds more than this of what has been sent is written anew without it.
COMPACT_BYTES = 1 << 20
# So much is read at once: some hundreds of epochs.
_WINDOW_BYTES = 1 << 18
_CHECK = len(',"crc":"00000000"}\n')


def parent_key(study: str) -> str:
    """Key of a study's parent run."""
    return f"study-{study}"


@dataclass(frozen=True)
class Record:
    """One thing that happened.

    Attributes:
        seq: Its number, from 1.
        kind: ``start``, ``step``, ``summary``, ``text``, ``file``, ``datasets``, ``model`` or ``finish``.
        key: Of the run.
        time: When it happened, in milliseconds since 1970.
        content: Plain values; what depends on the kind.
    """

    seq: int
    kind: str
    key: str
    time: int
    content: dict[str, Any]


@dataclass(frozen=True)
class Batch:
    """Records to send together.

    Attributes:
        records: In the order in which they were appended.
        end: Where in the file they end, in bytes.
    """

    records: list[Record]
    end: int


class Journal:
    """One append-only file; one process at a time, any of its threads.

    Appending is one write to the operating system, which survives the end of the process, kill -9 included. It is not
    forced to the disk: a power cut may cost the last seconds of curves, which is less than waiting for the disk at
    every epoch; the scores themselves are in the study's database.

    Args:
        path: The file, made when something is first appended.

    Attributes:
        damaged: Lines that did not pass their check and may not have been sent.

    Raises:
        StorageError: The file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file: int | None = None
        self._closed = False
        # Numbers of the last record and of the last sent; where the file ends, and before where all is sent.
        self._seq = self._sent = 0
        self._end = self._position = 0
        self._open: dict[str, Record] = {}
        # Of runs that were cut off: how they began, and that they ended so.
        self._cut_off: dict[str, tuple[Record, Record]] = {}
        self.damaged = 0
        with self._explained():
            if path.exists():
                self._recover()

    def append(self, kind: str, key: str, **content: Any) -> None:
        """Add a record of a kind for a run's key, with the time.

        Raises:
            StorageError: The file cannot be written.
        """
        with self._lock, self._explained():
            record = Record(self._seq + 1, kind, key, int(time.time() * 1000), content)
            self._write(_line(record))
            self._note(record)

    def unsent(self) -> Batch:
        """The next records to send; none if all are sent. For one thread; appending goes on meanwhile."""
        with self._explained():
            while self._position < self._end:
                batch = self._next_batch(self._window())
                if batch.records:
                    return batch
                self._position = batch.end
            return Batch([], self._end)

    def mark_sent(self, batch: Batch) -> None:
        """Note that a batch has arrived; what has arrived is dropped once it is long."""
        with self._lock, self._explained():
            self._sent, self._position = batch.records[-1].seq, batch.end
            self._write(_line(self._marker()))
            if not self.pending and self._end > COMPACT_BYTES:
                self._compact()

    @property
    def pending(self) -> int:
        """How many records have not been sent."""
        return self._seq - self._sent

    def open_keys(self) -> list[str]:
        """Keys of the runs that were started and not finished."""
        with self._lock:
            return list(self._open)

    def cut_off_keys(self) -> list[str]:
        """Keys of the runs that were finished as killed and not started again."""
        with self._lock:
            return list(self._cut_off)

    def close(self) -> None:
        """Drop what has been sent, and let go of the file."""
        with self._lock, self._explained():
            if self._end and not self.pending:
                self._compact()
            self._let_go()
            self._closed = True

    def _recover(self) -> None:
        """Read the file as a killed process left it, and cut off a line that it did not finish."""
        damaged_after: list[int] = []
        with self._path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._end += len(line)
                record = _parse(line)
                if record is None:
                    damaged_after.append(self._seq)
                else:
                    self._note(record)
        self.damaged = sum(seq >= self._sent for seq in damaged_after)
        os.truncate(self._path, self._end)

    def _note(self, record: Record) -> None:
        self._seq = max(self._seq, record.seq)
        if record.kind == _SENT:
            self._sent = record.seq
        elif record.kind == START:
            self._open[record.key] = record
            self._cut_off.pop(record.key, None)
        elif record.kind == FINISH:
            before, _ = self._cut_off.pop(record.key, (None, None))
            started = self._open.pop(record.key, before)
            if started is not None and record.content.get("status") == KILLED:
                self._cut_off[record.key] = started, record

    def _window(self) -> list[bytes]:
        """Whole lines from the first that may not have been sent."""
        left = self._end - self._position
        with self._path.open("rb") as file:
            file.seek(self._position)
            lines = file.readlines(min(left, _WINDOW_BYTES))
        # What another thread appends meanwhile is for the next time.
        ends = accumulate(map(len, lines))
        return [line for line, end in zip(lines, ends, strict=True) if end <= left]

    def _next_batch(self, lines: list[bytes]) -> Batch:
        """What has not been sent of these lines, up to what goes alone."""
        waiting: list[Record] = []
        end = self._position
        for line in lines:
            record = _parse(line)
            if record is not None and record.kind != _SENT and record.seq > self._sent:
                if waiting and (record.kind in _ALONE or waiting[-1].kind in _ALONE):
                    break
                waiting.append(record)
            end += len(line)
        return Batch(waiting, end)

    def _write(self, line: bytes) -> None:
        # The file may be another's by now.
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
            # On a full disk part of a line may have been written.
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(line)

    def _marker(self) -> Record:
        return Record(self._sent, _SENT, "", int(time.time() * 1000), {})

    def _compact(self) -> None:
        """Write the file anew: what was started and is not finished, or was cut off; and where the numbers stand."""
        cut_off = [record for records in self._cut_off.values() for record in records]
        content = b"".join(map(_line, [*self._open.values(), *cut_off, self._marker()]))
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


def read_unsent(path: Path) -> tuple[list[Record], int]:
    """What MLflow has not got of a journal, and how many damaged lines may be of that.

    The file is left as it is, a torn end included: another process may be appending to it.

    Raises:
        StorageError: It cannot be read.
    """
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise StorageError(f"The journal {path} cannot be used: {error.strerror}.") from error
    records: list[Record] = []
    damaged_after: list[int] = []
    seq = sent = 0
    for line in lines:
        record = _parse(line) if line.endswith(b"\n") else None
        if record is None:
            damaged_after += [seq] if line.endswith(b"\n") else []
        elif record.kind == _SENT:
            sent = record.seq
        else:
            records.append(record)
        seq = max(seq, record.seq if record else 0)
    return [record for record in records if record.seq > sent], sum(after >= sent for after in damaged_after)


def _line(record: Record) -> bytes:
    body = json.dumps(vars(record), separators=(",", ":"))[:-1].encode()
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)


def _parse(line: bytes) -> Record | None:
    """None where the checksum does not fit."""
    body, check = line[:-_CHECK], line[-_CHECK:]
    if check != b',"crc":"%08x"}\n' % zlib.crc32(body):
        return None
    return Record(**json.loads(body + b"}"))
