"""The records of a journal: their kinds, and the lines of the file that holds them."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from typing import Any

START, STEP, SUMMARY, TEXT, FILE, FINISH = "start", "step", "summary", "text", "file", "finish"
DATASETS, MODEL = "datasets", "model"
# Kinds of lines that are not sent: all before is sent; a record that MLflow refused; all refused ones are sent again.
SENT, REFUSED, READMITTED = "sent", "refused", "readmitted"
MARKS = (SENT, REFUSED, READMITTED)
# Entry of the content of a record that was refused before: it does not restart or end its run.
AGAIN = "again"
# MLflow's status of an interrupted run.
KILLED = "KILLED"
# Kinds that take long to upload are sent alone, so that they are marked as soon as they have arrived.
ALONE = {MODEL}

_CHECK = len(',"crc":"00000000"}\n')


def parent_key(study: str) -> str:
    """Return the key of a study's parent run.

    Examples:
        >>> from frostline.storage.tracking import parent_key
        >>> parent_key("flowers")
        'study-flowers'
    """
    return f"study-{study}"


@dataclass(frozen=True)
class JournalRecord:
    """One log record.

    Attributes:
        seq: Sequence number, from 1.
        kind: ``start``, ``step``, ``summary``, ``text``, ``file``, ``datasets``, ``model`` or ``finish``.
        key: Key of the run.
        time: Time of the event in milliseconds since 1970.
        content: Plain values; their names depend on the kind.
    """

    seq: int
    kind: str
    key: str
    time: int
    content: dict[str, Any]


_TYPES = {"seq": int, "kind": str, "key": str, "time": int, "content": dict}


@dataclass(frozen=True)
class Refusal:
    """A record that MLflow refused, and why."""

    record: JournalRecord
    why: str

    @property
    def sentence(self) -> str:
        """Return what was refused, and why."""
        return f"{self.record.kind} of {self.record.key}: {self.why}"

    def to_record(self) -> JournalRecord:
        """Return the line that keeps the record; its number does not count."""
        content = {"record": vars(self.record), "why": self.why}
        return JournalRecord(self.record.seq, REFUSED, self.record.key, self.record.time, content)

    @staticmethod
    def of(line: JournalRecord) -> Refusal:
        """Return the refusal that a line keeps."""
        return Refusal(JournalRecord(**line.content["record"]), str(line.content.get("why", "")))


def to_line(record: JournalRecord) -> bytes:
    """Return a record as a line with its checksum."""
    body = json.dumps(vars(record), separators=(",", ":"))[:-1].encode()
    return body + b',"crc":"%08x"}\n' % zlib.crc32(body)


def read_line(line: bytes) -> JournalRecord | None:
    """Return the record of a line; None if its checksum does not match, or it is no record that this version knows."""
    body, check = line[:-_CHECK], line[-_CHECK:]
    if check != b',"crc":"%08x"}\n' % zlib.crc32(body):
        return None
    try:
        record = _record_of(json.loads(body + b"}"))
        if record is not None and record.kind == REFUSED and _record_of(record.content["record"]) is None:
            return None
    except (ValueError, KeyError, RecursionError):
        return None
    return record


def _record_of(values: Any) -> JournalRecord | None:
    """Return the record of these values; None if they are not those of one."""
    if not isinstance(values, dict) or values.keys() != _TYPES.keys():
        return None
    fits = all(isinstance(values[name], kind) for name, kind in _TYPES.items())
    return JournalRecord(**values) if fits else None
