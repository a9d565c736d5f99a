"""What comparisons and races claim, against simulation with known truth."""

from __future__ import annotations

import pytest

from benchmarks.simulated_finals import Cell
from benchmarks.verdict_calibration import KNOWN, QUICK, run


@pytest.mark.slow  # Simulated studies, as those below; the set itself is that of Tukey's test.
def test_few_equal_strategies_are_rarely_told_apart() -> None:
    outcomes = run(Cell(3, 2, 40, (4.0,)), 300)
    # Of 300 draws with a chance of 5 %, more than 25 happen in one of 250.
    assert outcomes["all seeds"].false_claims <= 25 / 300
    assert outcomes["all seeds"].coverage > 0.92


@pytest.mark.slow
@pytest.mark.parametrize("cell", QUICK, ids=lambda cell: f"{cell.strategies}-{cell.seeds}-{cell.images}")
def test_claims_hold_at_their_stated_rate_and_a_race_claims_no_more_and_trains_less(cell: Cell) -> None:
    outcomes = run(cell, 300)
    known, now = outcomes[KNOWN], outcomes["all seeds"]
    assert now.false_claims <= 25 / 300
    assert 0.91 <= now.coverage <= 0.99
    assert now.worse >= 0.5 * known.worse
    # What is clearly behind leaves the set, and the others are told apart more easily than all at once.
    assert now.others >= 0.6 * known.others
    race = outcomes["race"]
    assert race.false_claims <= 25 / 300
    # A strategy may leave or lead since its first seeds were unlucky or lucky: intervals are a little too short.
    assert 0.88 <= race.coverage <= 0.99
    # A race finds the best with few seeds less than with all; one that ends where seeds help would find a tenth of it.
    assert race.others >= 0.6 * now.others
    assert race.trainings < 0.97
