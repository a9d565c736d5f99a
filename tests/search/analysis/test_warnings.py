"""What a reader is told besides the verdict."""

from __future__ import annotations

import numpy as np
import pytest

from frostline.search.analysis.verdict import Verdict, reach_verdict
from frostline.search.analysis.warnings import find_warnings
from frostline.search.records import FinalRecord, TrialRecord


def verdict(images: int) -> Verdict:
    labels = np.arange(images) % 2
    right = np.eye(2, dtype=np.float32)[labels]
    return reach_verdict([FinalRecord("full", 0, 1000, 1.0, 1.0, 1.0, 1, labels, right)], "accuracy")


DONE = TrialRecord(0, "complete", "full", score=0.9)


def test_nothing_is_said_where_all_is_well() -> None:
    assert find_warnings(verdict(30), [DONE], ["full"]) == ()


def test_a_small_test_split_decides_little() -> None:
    (told,) = find_warnings(verdict(29), [DONE], ["full"])
    assert told.startswith("Only 29 test images")
    assert "at least 30" in told


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        (
            [],
            "scratch is not judged: it had no trial. More trials or budget change that: frostline resume STUDY "
            "--trials N, or --budget +10m",
        ),
        (["failed"], "scratch is not judged: its only trial failed (no memory)."),
        (["failed"] * 3, "scratch is not judged: all of its 3 trials failed (no memory)."),
        (["failed", "pruned"], "scratch is not judged: all of its 2 trials failed or were pruned (no memory)."),
    ],
)
def test_a_strategy_without_a_finalist_is_named_with_the_reason(states: list[str], expected: str) -> None:
    trials = [
        TrialRecord(number, state, "scratch", reason="no memory" if state == "failed" else None)
        for number, state in enumerate(states, start=1)
    ]
    assert find_warnings(verdict(30), [DONE, *trials], ["full", "scratch"]) == (expected,)
