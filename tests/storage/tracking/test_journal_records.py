"""Lines of a journal: what was written comes back, and nothing else passes as a record."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from frostline.storage.tracking.journal_records import (
    REFUSED,
    STEP,
    JournalRecord,
    Refusal,
    parent_key,
    read_line,
    to_line,
)

RECORD = JournalRecord(3, STEP, "trial-0", 1700000000000, {"step": 1, "metrics": {"loss": 0.5}})
VALUES: dict[str, Any] = {"seq": 3, "kind": STEP, "key": "trial-0", "time": 1700000000000, "content": {"step": 1}}


def line(values: Any) -> bytes:
    """Any values as a line with a right checksum."""
    body = json.dumps(values, separators=(",", ":"))[:-1].encode()
    return body + b',"crc":"' + f"{zlib.crc32(body):08x}".encode() + b'"}\n'


def test_a_line_is_json_that_ends_with_the_checksum_of_what_is_before_it() -> None:
    written = to_line(RECORD)
    assert read_line(written) == RECORD
    values = json.loads(written)
    body, _, _ = written.rpartition(b',"crc"')
    assert list(values) == ["seq", "kind", "key", "time", "content", "crc"]
    assert int(values["crc"], 16) == zlib.crc32(body)
    assert len(values["crc"]) == 8
    assert written == line({name: value for name, value in values.items() if name != "crc"})


@pytest.mark.parametrize("place", range(0, len(to_line(RECORD)), 5))
def test_a_changed_or_missing_byte_makes_it_no_record(place: int) -> None:
    written = to_line(RECORD)
    assert read_line(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]) is None
    assert read_line(written[:place] + written[place + 1 :]) is None


@pytest.mark.parametrize(
    "values",
    [
        {**VALUES, "more": 1},
        {name: value for name, value in VALUES.items() if name != "key"},
        {**VALUES, "seq": "3"},
        {**VALUES, "seq": 3.0},
        {**VALUES, "kind": None},
        {**VALUES, "key": 1},
        {**VALUES, "time": "now"},
        {**VALUES, "content": []},
        {**VALUES, "kind": REFUSED},
        {**VALUES, "kind": REFUSED, "content": {"record": {"seq": 3}}},
        {**VALUES, "kind": REFUSED, "content": {"record": {**VALUES, "content": None}, "why": ""}},
        {},
    ],
)
def test_other_values_with_a_right_checksum_are_no_record(values: dict[str, Any]) -> None:
    assert read_line(line(VALUES)) == JournalRecord(**VALUES)
    assert read_line(line(values)) is None


def test_what_is_no_json_or_too_deep_is_no_record() -> None:
    for body in (b"[1", b"{" + b'"a":{' * 100_000, b'"x', b"{oops"):
        assert read_line(body + b',"crc":"' + f"{zlib.crc32(body):08x}".encode() + b'"}\n') is None
    assert read_line(b"") is None
    assert read_line(b"\n") is None


def test_a_refusal_keeps_its_record_and_says_why() -> None:
    refusal = Refusal(RECORD, "no such name")
    kept = refusal.to_record()
    assert (kept.seq, kept.kind, kept.key, kept.time) == (3, REFUSED, "trial-0", RECORD.time)
    read = read_line(to_line(kept))
    assert read is not None
    assert Refusal.of(read) == refusal
    assert refusal.sentence == "step of trial-0: no such name"
    # Of older versions, without the reason.
    assert Refusal.of(JournalRecord(3, REFUSED, "", 0, {"record": vars(RECORD)})) == Refusal(RECORD, "")


def test_parent_runs_have_the_names_of_their_studies() -> None:
    assert parent_key("flowers") == "study-flowers"
