"""Steps against sums over the records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from frostline.search.analysis.budget_history import budget_steps
from frostline.search.records import TrialRecord

START = datetime(2026, 1, 1, tzinfo=UTC)


def trial(
    number: int, strategy: str, ended: float, seconds: float, score: float | None = 0.5, **more: str
) -> TrialRecord:
    state = more.get("state", "complete")
    return TrialRecord(number, state, strategy, score=score, seconds=seconds, finished=START + timedelta(seconds=ended))


def test_each_step_sums_up_what_its_strategy_had() -> None:
    trials = [
        trial(0, "full", 10, 10, 0.5),
        trial(1, "scratch", 30, 20, 0.2),
        trial(2, "full", 35, 5, 0.4),
        trial(3, "full", 37, 2, 0.9, state="pruned"),
        trial(4, "full", 40, 3, None, state="failed"),
        trial(5, "full", 48, 8, 0.8),
        TrialRecord(6, "running", "full"),
    ]
    steps = budget_steps(trials)
    assert [step.trial.number for step in steps] == [0, 1, 2, 3, 4, 5]
    assert [step.trials for step in steps] == [1, 1, 2, 3, 4, 5]
    assert [step.seconds for step in steps] == [10, 20, 15, 17, 20, 28]
    assert [step.best for step in steps] == [0.5, 0.2, 0.5, 0.5, 0.5, 0.8]
    assert [step.at_work for step in steps] == [10, 30, 35, 37, 40, 48]


def test_a_pause_does_not_count_as_work() -> None:
    week = 7 * 24 * 3600.0
    steps = budget_steps([trial(0, "full", 10, 10), trial(1, "full", week, 20), trial(2, "full", week + 5, 5)])
    assert [step.at_work for step in steps] == [10, 30, 35]


def test_two_at_a_time_take_half_as_long() -> None:
    steps = budget_steps([trial(0, "full", 10, 10), trial(1, "scratch", 10, 10), trial(2, "full", 20, 10)])
    assert steps[-1].at_work == pytest.approx(20)
    assert sum(step.trial.seconds or 0 for step in steps) == 30


def test_trials_count_in_the_order_of_their_ending() -> None:
    assert [step.trial.number for step in budget_steps([trial(0, "full", 20, 20), trial(1, "full", 5, 5)])] == [1, 0]
