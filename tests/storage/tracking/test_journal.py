"""The journal: cut off at any byte it loses the torn line alone, damage is seen, what is sent is dropped."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.storage.errors import StorageError
from frostline.storage.tracking import journal as journal_module
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.journal_records import FINISH, START, STEP, JournalRecord
from frostline.storage.tracking.unsent_records import read_unsent

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal" / "study.jsonl"


def steps(journal: Journal, count: int, first: int = 0) -> None:
    for step in range(first, first + count):
        journal.append(STEP, f"trial-{step % 3}", step=step, metrics={"loss": step / 7})


def drain(journal: Journal) -> list[JournalRecord]:
    """Everything unsent, as a sender takes it."""
    found = []
    while (batch := journal.unsent()).records:
        found += batch.records
        journal.mark_sent(batch)
    return found


def test_refused_records_are_kept_until_they_are_sent_again(path: Path) -> None:
    journal = Journal(path)
    journal.append(START, "trial-0", name="0", params={}, tags={})
    journal.append(STEP, "trial-0", step=0, metrics={})
    journal.append(FINISH, "trial-0", status="FINISHED")
    batch = journal.unsent()
    journal.mark_sent(batch, {batch.records[0].seq: "no such name"})
    assert journal.pending == 0
    # Closing rewrites the file.
    for _ in range(2):
        journal.close()
        journal = Journal(path)
        (refusal,) = journal.refused
        assert (refusal.record, refusal.why) == (batch.records[0], "no such name")
        assert read_unsent(path).refused == [refusal]
    journal.readmit()
    assert journal.refused == read_unsent(path).refused == []
    assert journal.open_keys() == []
    (again,) = drain(Journal(path))
    assert (again.kind, again.key, again.time) == (START, "trial-0", batch.records[0].time)
    assert again.content == {**batch.records[0].content, "again": True}
    assert drain(Journal(path)) == []


def numbers(records: list[JournalRecord]) -> list[int]:
    return [record.content["step"] for record in records]


def test_records_come_back_in_order_once(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 10)
    assert numbers(journal.unsent().records) == numbers(journal.unsent().records) == list(range(10))
    assert numbers(drain(journal)) == list(range(10))
    assert drain(journal) == []
    steps(journal, 2, first=10)
    assert numbers(drain(Journal(path))) == [10, 11]
    assert drain(Journal(path)) == []


@settings(max_examples=50, deadline=None)
@given(content=st.dictionaries(st.sampled_from(["metrics", "tags", "name", "content"]), JSON), key=st.text())
def test_plain_values_of_any_kind_come_back(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], key: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "study.jsonl"
    Journal(path).append(STEP, key, **content)
    (record,) = Journal(path).unsent().records
    assert (record.key, record.content) == (key, content)


def test_every_line_is_json_with_number_and_checksum(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3]
    assert all(len(line["crc"]) == 8 and line["time"] > 0 for line in lines)


def test_cut_off_at_any_byte_it_loses_the_torn_line_alone(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 40)
    whole = path.read_bytes()
    ends = [place + 1 for place, byte in enumerate(whole) if byte == ord("\n")]
    for cut in random.Random(0).sample(range(len(whole) + 1), 200):
        path.write_bytes(whole[:cut])
        survivor = Journal(path)
        kept = sum(end <= cut for end in ends)
        assert survivor.damaged == 0
        steps(survivor, 1, first=99)
        assert numbers(drain(survivor)) == [*range(kept), 99]
        assert drain(Journal(path)) == []


def test_a_killed_writer_loses_nothing_that_it_had_appended(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from frostline.storage.tracking.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for step in range(10**9):\n    journal.append('step', 'trial-0', step=step); print(step, flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 50:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        said = writer.stdout.read().splitlines()
    found = numbers(drain(Journal(path)))
    assert found == list(range(len(found)))
    assert len(found) > 50 + len(said) - 1


def test_a_cut_within_what_was_sent_sends_that_again(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 3)
    drain(journal)
    path.write_bytes(path.read_bytes()[:-1])
    assert numbers(drain(Journal(path))) == [0, 1, 2]


@settings(max_examples=100, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_seen(tmp_path_factory: pytest.TempPathFactory, place: float, bit: int) -> None:
    path = tmp_path_factory.mktemp("bit") / "study.jsonl"
    steps(Journal(path), 5)
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
    journal = Journal(path)
    found = numbers(drain(journal))
    assert set(found) < set(range(5))
    assert found == sorted(found)
    # A line break that is gone makes one line of two; that of the last line makes it a torn one.
    assert len(found) >= 3
    assert journal.damaged > 0 or found == [0, 1, 2, 3]


def test_damage_in_what_was_sent_is_no_loss(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 3)
    drain(journal)
    path.write_bytes(path.read_bytes().replace(b'"step":1', b'"step":7'))
    assert Journal(path).damaged == 0


def test_a_run_that_was_cut_off_stays_known_as_such_until_it_ends_otherwise(path: Path) -> None:
    journal = Journal(path)
    for key in ("trial-0", "trial-1", "trial-2"):
        journal.append(START, key, name=key, params={}, tags={})
        journal.append(FINISH, key, status="KILLED")
    journal.append(START, "trial-1", name="trial-1", params={}, tags={})
    assert journal.cut_off_keys() == ["trial-0", "trial-2"]
    drain(journal)
    journal.close()
    reopened = Journal(path)
    assert reopened.cut_off_keys() == ["trial-0", "trial-2"]
    assert reopened.open_keys() == ["trial-1"]
    assert drain(reopened) == []
    reopened.append(FINISH, "trial-0", status="KILLED")
    reopened.append(FINISH, "trial-2", status="FINISHED")
    reopened.append(FINISH, "trial-1", status="FAILED")
    assert Journal(path).cut_off_keys() == ["trial-0"]
    assert Journal(path).open_keys() == []


def test_runs_are_open_from_their_start_to_their_finish(path: Path) -> None:
    journal = Journal(path)
    for key in ("study-s", "trial-0", "trial-1"):
        journal.append(START, key, name=key, params={}, tags={})
    journal.append(FINISH, "trial-0", status="FINISHED")
    assert journal.open_keys() == Journal(path).open_keys() == ["study-s", "trial-1"]
    drain(journal)
    journal.close()
    reopened = Journal(path)
    assert reopened.open_keys() == ["study-s", "trial-1"]
    assert drain(reopened) == []
    reopened.append(FINISH, "trial-1", status="KILLED")
    assert reopened.open_keys() == ["study-s"]
    assert [record.key for record in drain(Journal(path))] == ["trial-1"]


def test_what_is_sent_is_dropped_so_that_the_file_stays_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "COMPACT_BYTES", 5000)
    journal = Journal(path)
    sizes = []
    for first in range(0, 1000, 10):
        steps(journal, 10, first)
        sizes.append(path.stat().st_size)
        assert numbers(drain(journal)) == list(range(first, first + 10))
    assert max(sizes) < 8000
    journal.close()
    assert path.stat().st_size < 200
    with pytest.raises(StorageError, match="closed"):
        journal.append(STEP, "trial-0")


def test_many_records_are_sent_in_several_batches(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "_WINDOW_BYTES", 1000)
    journal = Journal(path)
    steps(journal, 100)
    journal.append(STEP, "trial-0", step=100, metrics={}, padding="x" * 5000)
    assert 0 < len(journal.unsent().records) < 20
    assert numbers(drain(journal)) == list(range(101))


@pytest.mark.parametrize("whole_folder", [False, True])
def test_a_journal_deleted_while_it_is_open_loses_nothing(path: Path, whole_folder: bool) -> None:
    journal = Journal(path)
    steps(journal, 5)
    batch = journal.unsent()
    journal.mark_sent(batch)
    steps(journal, 5, first=5)
    delete(path, whole_folder)
    steps(journal, 5, first=10)
    # A killed process leaves what it had appended.
    assert [record.content["step"] for record in read_unsent(path).records] == list(range(5, 15))
    delete(path, whole_folder)
    assert [record.content["step"] for record in drain(journal)] == list(range(5, 15))
    journal.append(START, "trial-9", name="9", params={}, tags={})
    delete(path, whole_folder)
    journal.close()
    assert Journal(path).open_keys() == ["trial-9"]


def test_a_journal_replaced_by_an_older_copy_keeps_its_records(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 2)
    old = path.read_bytes()
    steps(journal, 2, first=2)
    path.unlink()
    path.write_bytes(old)
    steps(journal, 1, first=4)
    assert [record.content["step"] for record in drain(journal)] == list(range(5))


def delete(path: Path, whole_folder: bool) -> None:
    shutil.rmtree(path.parent) if whole_folder else path.unlink()


def test_threads_append_while_another_sends(path: Path) -> None:
    journal = Journal(path)
    writers = [threading.Thread(target=steps, args=(journal, 200, 1000 * number)) for number in range(4)]
    found: list[JournalRecord] = []
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        found += drain(journal)
    found += drain(journal)
    assert [record.seq for record in found] == list(range(1, 801))
    assert Journal(path).damaged == 0


def test_a_place_that_cannot_be_written_is_a_plain_error(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(StorageError, match=r"study\.jsonl cannot be used"):
        Journal(tmp_path / "journal" / "study.jsonl").append(STEP, "trial-0")


def test_the_time_of_every_line_is_in_milliseconds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module.time, "time", lambda: 1_700_000_000.125)
    journal = Journal(path)
    steps(journal, 2)
    batch = journal.unsent()
    journal.mark_sent(batch, {1: "no"})
    journal.readmit()
    kinds = [(json.loads(line)["kind"], json.loads(line)["time"]) for line in path.read_text().splitlines()]
    assert kinds == [(kind, 1_700_000_000_125) for kind in ("step", "step", "refused", "sent", "step", "readmitted")]


def test_nothing_is_readmitted_where_nothing_was_refused(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 1)
    before = path.read_bytes()
    journal.readmit()
    assert path.read_bytes() == before


@pytest.mark.parametrize("kind", [STEP, "summary", "text", "file", "datasets", "model"])
def test_only_a_finish_ends_a_run_and_only_a_start_begins_one(path: Path, kind: str) -> None:
    journal = Journal(path)
    journal.append(kind, "trial-1")
    assert journal.open_keys() == []
    journal.append(START, "trial-1", name="1")
    journal.append(kind, "trial-1")
    assert journal.open_keys() == ["trial-1"]
    journal.append(FINISH, "trial-1", status="KILLED")
    journal.append(kind, "trial-1")
    assert (journal.open_keys(), journal.cut_off_keys()) == ([], ["trial-1"])
    # A finish without a start is no interrupted run.
    journal.append(FINISH, "trial-2", status="KILLED")
    assert journal.cut_off_keys() == ["trial-1"]


def test_models_are_sent_alone(path: Path) -> None:
    journal = Journal(path)
    for kind in (STEP, STEP, "model", "model", STEP):
        journal.append(kind, "trial-0")
    batches = []
    while (batch := journal.unsent()).records:
        batches.append([record.kind for record in batch.records])
        journal.mark_sent(batch)
    assert batches == [[STEP, STEP], ["model"], ["model"], [STEP]]


def test_what_is_pending_is_what_was_appended_and_not_sent(path: Path) -> None:
    journal = Journal(path)
    assert journal.pending == 0
    steps(journal, 3)
    assert journal.pending == Journal(path).pending == 3
    journal.mark_sent(journal.unsent())
    assert journal.pending == Journal(path).pending == 0
    steps(journal, 2)
    assert journal.pending == Journal(path).pending == 2


def test_a_file_is_rewritten_when_it_is_larger_than_a_mebibyte_and_all_is_sent(path: Path) -> None:
    journal = Journal(path)
    journal.append(STEP, "trial-0", padding="x" * (2**20 - 1000))
    batch = journal.unsent()
    journal.mark_sent(batch)
    assert 2**20 - 1000 < path.stat().st_size <= 2**20
    journal.append(STEP, "trial-0", padding="x" * 2000)
    larger = journal.unsent()
    steps(journal, 1)
    journal.mark_sent(larger)
    # One is left to send.
    assert path.stat().st_size > 2**20
    assert numbers(drain(journal)) == [0]
    assert path.stat().st_size < 200


def test_a_quarter_of_a_mebibyte_is_read_at_once(path: Path) -> None:
    journal = Journal(path)
    for step in range(6):
        journal.append(STEP, "trial-0", step=step, padding="x" * 100_000)
    # The third begins within 262,144 bytes.
    assert numbers(journal.unsent().records) == [0, 1, 2]
    assert numbers(drain(journal)) == list(range(6))


def test_records_may_be_lacking_after_damage_a_torn_line_or_without_a_file_where_no_other_has_one(path: Path) -> None:
    new = Journal(path)
    assert new.may_lack_records(alone=True)
    assert not new.may_lack_records(alone=False)
    steps(new, 3)
    assert not Journal(path).may_lack_records(alone=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert Journal(path).may_lack_records(alone=False)
    path.write_bytes(whole.replace(b'"step":0', b'"step":7'))
    damaged = Journal(path)
    assert damaged.damaged == 1
    assert damaged.may_lack_records(alone=False)


def test_damage_counts_where_it_may_not_have_been_sent(path: Path) -> None:
    journal = Journal(path)
    steps(journal, 2)
    drain(journal)
    steps(journal, 2, first=2)
    whole = path.read_bytes()
    for step, damaged in ((0, 0), (1, 0), (2, 1), (3, 1)):
        path.write_bytes(whole.replace(b'"step":%d' % step, b'"step":9'))
        assert Journal(path).damaged == damaged


def test_a_closed_journal_without_records_leaves_no_file(path: Path) -> None:
    journal = Journal(path)
    journal.close()
    assert not path.exists()
    kept = Journal(path)
    steps(kept, 2)
    before = path.read_bytes()
    kept.close()
    # What is not sent stays.
    assert path.read_bytes() == before
    assert numbers(drain(Journal(path))) == [0, 1]
