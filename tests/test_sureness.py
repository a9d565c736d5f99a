"""Searches that end when they are sure, simulated: how often they are right (a part of benchmarks/sureness.py)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from scipy.stats import binom

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness, sureness
from benchmarks.sureness import SHAPES, Size, draw_arms, ending, measure, search
from frostline.search.sampling.budget import strategy_floor

SMALL = Size(2, 20, 200)
SEARCHES = 30


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_scores_are_those_of_answers_that_go_together() -> None:
    size = Size(3, 400, 100)
    arms = draw_arms(SHAPES["equal"], size, np.random.default_rng(0))
    assert arms.scores.shape == arms.accuracies.shape == (3, 400)
    assert abs((arms.scores - arms.accuracies).mean()) < 0.08
    errors = arms.scores - arms.accuracies
    # The images are the same for all: apart from that, scores vary less than a binomial distribution says.
    assert errors.std() < 0.8 * np.sqrt(0.85 * 0.15 / size.images)


def test_a_search_runs_all_its_trials_and_completes_the_floors_first() -> None:
    arms = draw_arms(SHAPES["one better by 10 points"], SMALL, np.random.default_rng(1))
    chosen = search(arms, SMALL, 0)
    floor = strategy_floor(SMALL.trials, SMALL.strategies)
    assert len(chosen) == SMALL.trials
    assert np.bincount(chosen[: floor * SMALL.strategies]).tolist() == [floor] * SMALL.strategies
    ended = ending(arms, chosen, SMALL, 0.95)
    assert ended is not None
    assert floor * SMALL.strategies <= ended.trials < SMALL.trials


@pytest.mark.parametrize("shape", ["equal", "one better by 3 points", "heavy tails", "rising"])
def test_few_searches_end_wrongly(shape: str) -> None:
    found = measure(SHAPES[shape], SMALL, 0.95, SEARCHES)
    wrong = sum(each is not None and not each.right for each in found)
    # More would be seen in one of a hundred runs, if one of twenty searches ended wrongly.
    assert wrong <= binom.ppf(0.99, SEARCHES, 0.05)


def test_a_clear_lead_ends_most_searches_rightly_and_saves_trials() -> None:
    found = measure(SHAPES["one better by 10 points"], SMALL, 0.95, SEARCHES)
    ended = [each for each in found if each is not None]
    assert len(ended) >= 0.8 * SEARCHES
    assert all(each.right for each in ended)
    assert sum(1 - each.trials / SMALL.trials for each in ended) / SEARCHES > 0.2
    # The more sure, the later.
    later = measure(SHAPES["one better by 10 points"], SMALL, 0.999, SEARCHES)
    assert all(
        late is None or (soon is not None and soon.trials <= late.trials)
        for soon, late in zip(found, later, strict=True)
    )


def test_the_table_has_a_row_for_each_shape() -> None:
    report = harness.Report("sureness", "", harness.Setting(quick=True))
    table = report.table("", "arms", "size", *"abcdef")
    sureness.add_rows(table, 0.95, 2, sizes=(Size(2, 12, 100),))
    assert [row[0] for row in table.rows] == list(SHAPES)
