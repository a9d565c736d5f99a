"""What choosing adds to scores: the records that it is read from, and what it is on average."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from frostline.search.analysis.selection import SearchGain, examine_selection
from frostline.search.analysis.verdict import reach_verdict
from frostline.search.records import FinalRecord, TrialRecord

LABELS = np.arange(100) % 2


def final(strategy: str, trial: int, seed: int, val_score: float, right: int) -> FinalRecord:
    probabilities = np.eye(2, dtype=np.float32)[np.where(np.arange(100) < right, LABELS, 1 - LABELS)]
    return FinalRecord(strategy, trial, seed, val_score, right / 100, 1.0, 1, LABELS, probabilities)


def test_it_is_read_from_the_trials_and_finals_of_each_strategy() -> None:
    trials = [
        TrialRecord(0, "complete", "full", score=0.7),
        TrialRecord(1, "complete", "full", score=0.9),
        TrialRecord(2, "pruned", "full", score=0.95),
        TrialRecord(3, "failed", "full"),
        TrialRecord(4, "complete", "scratch", score=0.6),
        TrialRecord(5, "waiting"),
    ]
    finals = [
        *(final("full", 1, 1000 + seed, 0.8 + seed / 100, 70 + seed) for seed in range(3)),
        *(final("scratch", 4, 1000 + seed, 0.5, 40 + seed) for seed in range(2)),
    ]
    found = examine_selection(reach_verdict(finals, "accuracy"), trials, {})
    assert [(each.strategy, each.tried, each.search_score) for each in found] == [("full", 2, 0.9), ("scratch", 1, 0.6)]
    means = [[each.val_mean, each.test_mean, each.highest_test] for each in found]
    assert means == [pytest.approx([0.81, 0.71, 0.72]), pytest.approx([0.5, 0.405, 0.41])]


def test_the_best_of_many_equal_trials_loses_what_the_best_of_so_many_draws_has_in_excess() -> None:
    # 20 configurations are equally good; their validation scores differ by chance, with a deviation of 4 points.
    draw = np.random.default_rng(0)
    verdict, lost = reach_verdict([final("full", 0, seed, 0.8, 80) for seed in range(5)], "accuracy"), []
    for _ in range(200):
        scores = draw.normal(0.8, 0.04, 20)
        trials = [TrialRecord(number, "complete", "full", score=float(each)) for number, each in enumerate(scores)]
        best = int(scores.argmax())
        finals = tuple(final("full", best, seed, float(draw.normal(0.8, 0.04)), 80) for seed in range(5))
        # All verdicts are this one: it depends on test images alone, of which all finals are right on the same.
        judged = replace(verdict, contenders=(replace(verdict.winner, trial_number=best, finals=finals),))
        (found,) = examine_selection(judged, trials, {})
        lost.append(found.search_score - found.val_mean)
    # The expected maximum of 20 normal variables is 1.867 standard deviations (Harter 1961).
    assert np.mean(lost) == pytest.approx(1.867 * 0.04, abs=3 * 0.04 / np.sqrt(200))


def gained(right: int, default: int, *, trial: int = 0, seeds: int = 4) -> SearchGain | None:
    """What a finalist, trial 1, gains over a default that was trained once; of so many right answers each."""
    trials = [TrialRecord(number, "complete", "full", score=0.5) for number in range(2)]
    finals = [final("full", 1, 1000 + seed, 0.5, right) for seed in range(seeds)]
    tested = [final("full", trial, 1000, 0.5, default)]
    (found,) = examine_selection(reach_verdict(finals, "accuracy"), trials, {"full": tested})
    return found.gain


def test_the_gain_over_the_default_is_that_of_the_test_means_and_has_an_interval() -> None:
    far, near, worse = gained(95, 40), gained(80, 79), gained(60, 90)
    assert far is not None and near is not None and worse is not None  # noqa: PT018
    assert (far.points, far.default_test) == pytest.approx((0.55, 0.4))
    assert far.beyond_chance
    assert near.interval is not None and worse.interval is not None  # noqa: PT018
    assert near.points == pytest.approx(0.01)
    assert near.interval[0] < 0 < near.interval[1]
    assert not near.beyond_chance
    assert worse.points == pytest.approx(-0.3)
    assert worse.interval[0] < -0.3 < worse.interval[1] < 0


def test_a_default_that_is_the_finalist_gains_nothing_and_one_that_was_not_tested_says_nothing() -> None:
    assert gained(80, 80, trial=1) == SearchGain(0.0, None, 0.8)
    trials = [TrialRecord(1, "complete", "full", score=0.5)]
    verdict = reach_verdict([final("full", 1, 1000, 0.5, 80)], "accuracy")
    assert examine_selection(verdict, trials, {})[0].gain is None
