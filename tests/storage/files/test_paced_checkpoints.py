"""The pace of checkpoints: seldom enough to cost little, at once where that matters."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from frostline.storage.files.checkpoints import CheckpointFolder
from frostline.storage.files.paced_checkpoints import PacedCheckpoints
from frostline.storage.timing import Timing


def test_the_first_waits_unless_it_is_hastened(tmp_path: Path) -> None:
    place = PacedCheckpoints(CheckpointFolder(tmp_path / "trial-1"), Timing())
    assert not place.save(lambda: b"first")
    assert place.load() is None
    place.hasten()
    assert place.save(lambda: b"second")
    assert not place.save(lambda: b"third")
    assert place.load() == b"second"


def test_a_short_training_writes_none_and_a_long_one_not_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    written: list[float] = []

    def slow(seconds: float) -> Callable[[], bytes]:
        def state() -> bytes:
            nonlocal now
            written.append(now)
            now += seconds
            return b"state"

        return state

    place = PacedCheckpoints(CheckpointFolder(tmp_path / "trial-1"), Timing())
    for _ in range(4):
        now += 1.0
        place.save(slow(0.1))
    assert not (tmp_path / "trial-1").exists()
    for _ in range(10):
        now += 1.0
        place.save(slow(0.1))
    assert [round(moment) for moment in written] == [105, 110]
    now += 5.0
    place.save(slow(2.0))
    began = now
    while len(written) == 3:
        now += 1.0
        place.save(slow(2.0))
    assert written[-1] - began == pytest.approx(2.0 / 0.1)
