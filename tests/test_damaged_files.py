"""Readers of journals, features, stages and checkpoints, fed damaged bytes: what was written, or nothing."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from frostline.objectives.epochs import EpochResult
from frostline.objectives.training.certificate import Certificate
from frostline.objectives.training.checkpoint import CheckpointRecord, pack, unpack
from frostline.objectives.training.stages import _read as read_stage
from frostline.storage.errors import StorageError
from frostline.storage.files import CheckpointFolder, FeatureFiles
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.journal_records import FINISH, START, STEP, JournalRecord, read_line, to_line
from frostline.storage.tracking.unsent_records import read_unsent

from .mutations import mutations, unpickled

QUICK, SLOW = 240, 2400
KEY = "c0ffee"


@pytest.fixture(params=[pytest.param(QUICK, id="quick"), pytest.param(SLOW, id="many", marks=pytest.mark.slow)])
def cases(request: pytest.FixtureRequest) -> int:
    """How many damaged files."""
    return request.param


@pytest.fixture(autouse=True)
def _no_code_is_loaded() -> Iterator[None]:
    before = len(unpickled())
    yield
    assert unpickled()[before:] == []


# The journal


def write_journal(path: Path, study: int) -> list[JournalRecord]:
    """Some runs, some of them sent and one refused; what is not sent."""
    journal = Journal(path)
    for trial in range(3):
        journal.append(START, f"trial-{trial}", name=f"trial {study}/{trial}", params={"a": "é"}, tags={}, parent=None)
        for step in range(4):
            journal.append(STEP, f"trial-{trial}", step=step, metrics={"score": 0.1 * step + study})
        if trial == 0:
            batch = journal.unsent()
            journal.mark_sent(batch, {batch.records[1].seq: "too long"})
        journal.append(FINISH, f"trial-{trial}", status="KILLED" if trial == 1 else "FINISHED", name=None)
    return journal.unsent().records


def read_all(path: Path) -> list[JournalRecord]:
    journal, found = Journal(path), list[JournalRecord]()
    while records := (batch := journal.unsent()).records:
        found += records
        journal.mark_sent(batch)
    found += [refusal.record for refusal in journal.refused]
    # What it has made of the damage can be added to.
    journal.append(STEP, "trial-9", step=0, metrics={})
    assert [record.key for record in journal.unsent().records] == ["trial-9"]
    journal.close()
    return found


def test_a_damaged_journal_gives_records_that_were_written(cases: int, tmp_path: Path) -> None:
    path, written = tmp_path / "toy.jsonl", list[JournalRecord]()
    others = []
    for study in (1, 0):
        path.unlink(missing_ok=True)
        written += write_journal(path, study)
        others.append(path.read_bytes())
    lines = [record for other in others for line in other.splitlines(True) if (record := read_line(line))]
    good = path.read_bytes()
    whole = 0
    for what, content in mutations(good, others, cases, seed=1):
        path.write_bytes(content)
        unsent = read_unsent(path).records
        assert all(record in lines for record in unsent), what
        found = read_all(path)
        assert all(record in lines for record in found), what
        whole += len(found) >= 10
    # Most damage is small: most records are there nevertheless.
    assert whole > cases / 3


@pytest.mark.parametrize(
    "record",
    [
        b"[]",
        b"7",
        b'{"seq":1}',
        b'{"seq":1,"kind":"step","key":"a","time":0,"content":{},"later":1}',
        b'{"seq":"1","kind":"step","key":"a","time":0,"content":{}}',
        b'{"seq":1,"kind":"refused","key":"a","time":0,"content":{}}',
        b'{"seq":1,"kind":"step","key":"a","time":0,"content":[]}',
        b'{"seq":1,"kind":7,"key":"a","time":0,"content":{}}',
        b'{"seq":1,"kind":"step","key":"a","time":0,"content":' + b"[" * 3000 + b"]" * 3000 + b"}",
    ],
)
def test_a_line_that_is_whole_but_no_record_counts_as_damaged(record: bytes, tmp_path: Path) -> None:
    """As a later version, or another program, may have written it."""
    path, body = tmp_path / "toy.jsonl", record[:-1]
    last = record[-1:]
    line = body + b',"crc":"%08x"' % zlib.crc32(body) + last + b"\n"
    good = to_line(JournalRecord(2, STEP, "trial-0", 0, {"step": 0, "metrics": {}}))
    path.write_bytes(line + good)
    assert [record.seq for record in read_unsent(path).records] == [2]
    journal = Journal(path)
    assert (journal.damaged, [record.seq for record in journal.unsent().records]) == (1, [2])


# Features


def test_damaged_features_are_missing_or_what_was_written(cases: int, tmp_path: Path) -> None:
    contents, rng = {}, np.random.default_rng(0)
    for key in ("0ther", KEY):
        files = FeatureFiles(tmp_path)
        data = rng.integers(0, 256, 700, dtype=np.uint8)
        with files.all_locked():
            assert files.write(key, {"seconds": 1.5, "shape": [7, 100]}, data)
        contents[key] = data
    path = tmp_path / f"{KEY}.features"
    good, others = path.read_bytes(), [file.read_bytes() for file in tmp_path.glob("*.features")]
    refused = 0
    for what, content in mutations(good, others, cases, seed=2):
        path.write_bytes(content)
        # As a process that has not read it before.
        files = FeatureFiles(tmp_path)
        damaged, held, found = files.damaged(), files.held(), files.read(KEY)
        if found is None:
            assert damaged == [KEY], what
            assert not path.exists(), what
            refused += 1
        else:
            facts, data = found
            assert np.array_equal(data, contents[KEY]), what
            assert (facts["seconds"], facts["shape"], facts["key"]) == (1.5, [7, 100], KEY), what
            assert KEY in held, what
    assert refused > 0.8 * cases


# Checkpoints and stages


def state_of(seed: int) -> tuple[CheckpointRecord, dict[str, dict[str, torch.Tensor]]]:
    generator = torch.Generator().manual_seed(seed)
    epochs = tuple(
        EpochResult(epoch, "head", train_loss=0.5, val_loss=1.0, score=0.1 * epoch, learning_rates={}, seconds=0.1)
        for epoch in range(2)
    )
    certificate = Certificate("head", 2, "same", "same", ("w",), 12, ("v",), {}, (), None)
    parts = {
        "network": {"w": torch.randn(4, 3, generator=generator)},
        "optimization": {"step": torch.tensor(seed)},
        "random": {"cpu": torch.arange(8, dtype=torch.uint8)},
    }
    return CheckpointRecord(KEY, 1.5, epochs, (certificate,)), parts


def same(found: tuple[CheckpointRecord, dict[str, torch.Tensor]], seed: int) -> bool:
    record, parts = state_of(seed)
    flat = {f"{part}/{name}": value for part, state in parts.items() for name, value in state.items()}
    tensors = found[1]
    return found[0] == record and tensors.keys() == flat.keys() and all(tensors[n].equal(flat[n]) for n in flat)


def test_damaged_checkpoints_are_the_one_before_or_none(cases: int, tmp_path: Path) -> None:
    kept, states = CheckpointFolder(tmp_path, 1), [pack(*state_of(seed)) for seed in range(2)]
    for state in states:
        kept.save(state)
    files = [tmp_path / "1" / name for name in ("latest", "previous")]
    contents = [file.read_bytes() for file in files]
    before = 0
    for (what, latest), (_, previous) in itertools.islice(
        zip(
            mutations(contents[0], contents, cases, seed=3),
            mutations(contents[1], contents, cases, seed=4),
            strict=True,
        ),
        cases,
    ):
        for file, content in zip(files, (latest, contents[1]), strict=True):
            file.write_bytes(content)
        found = unpack(CheckpointFolder(tmp_path, 2).load(), KEY)
        assert found is not None, what
        # Damage may have made the latest the one before.
        assert same(found, 0) or same(found, 1), what
        before += same(found, 0)
        files[1].write_bytes(previous)
        found = unpack(CheckpointFolder(tmp_path, 2).load(), KEY)
        assert found is None or same(found, 0) or same(found, 1), what
        assert CheckpointFolder(tmp_path, 2).damaged() or found is not None, what
    assert before > 0.8 * cases


def test_damaged_stages_are_trained_again(cases: int, tmp_path: Path) -> None:
    contents = []
    for seed in range(2):
        files = FeatureFiles(tmp_path, "stage")
        with files.all_locked():
            files.write(KEY, {"seconds": 1.5}, np.frombuffer(pack(*state_of(seed)), np.uint8))
        contents.append((tmp_path / f"{KEY}.stage").read_bytes())
    path = tmp_path / f"{KEY}.stage"
    for what, content in mutations(contents[1], contents, cases, seed=5):
        path.write_bytes(content)
        found = read_stage(FeatureFiles(tmp_path, "stage"), KEY)
        assert found is None or same(found, 0) or same(found, 1), what


def test_a_state_behind_a_right_checksum_is_read_or_none(cases: int) -> None:
    """As another program, or a version to come, may have written it."""
    states = [pack(*state_of(seed)) for seed in range(2)]
    for what, content in mutations(states[0], states, cases, seed=6):
        found = unpack(content, KEY)
        assert found is None or found[0].identity == KEY, what


def test_a_folder_in_the_place_of_a_file_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "toy.jsonl").mkdir()
    with pytest.raises(StorageError, match="cannot be used"):
        Journal(tmp_path / "toy.jsonl")
    (tmp_path / f"{KEY}.features").mkdir()
    assert FeatureFiles(tmp_path).read(KEY) is None
    latest = tmp_path / "1" / "latest"
    latest.mkdir(parents=True)
    checkpoints = CheckpointFolder(tmp_path, 2)
    assert (checkpoints.load(), checkpoints.damaged()) == (None, [latest])
