"""The confidence set against Tukey's test and closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from benchmarks.simulated_finals import Cell
from benchmarks.verdict_calibration import run
from frostline.objectives.metrics import Weighted
from frostline.search.analysis.comparison import (
    ONLY_LOOK,
    best_shares,
    central_interval,
    compare_draws,
    confidence_set,
    exact_interval,
)
from frostline.search.analysis.score_draws import draw_scores


@pytest.mark.parametrize("strategies", [2, 3, 6])
def test_of_independent_equal_errors_the_set_is_that_of_tukeys_test(strategies: int) -> None:
    errors = np.random.default_rng(0).normal(0, 0.02, size=(100_000, strategies))
    means = np.full(strategies, 0.8)
    critical = scipy.stats.studentized_range.ppf(0.95, strategies, np.inf) * 0.02
    for low, high in confidence_set(means, errors).intervals:
        assert (low, high) == pytest.approx((-critical, critical), rel=0.02)


def test_who_is_far_behind_does_not_widen_the_comparison_of_the_others() -> None:
    errors = np.random.default_rng(0).normal(0, 0.02, size=(100_000, 4))
    intervals = confidence_set(np.array([0.8, 0.795, 0.3, 0.2]), errors).intervals
    critical = scipy.stats.norm.ppf(0.975) * 0.02 * np.sqrt(2)
    assert intervals[0] == pytest.approx((0.005 - critical, 0.005 + critical), abs=0.001)
    assert all(low > 0 for low, _ in intervals[1:])


def test_errors_that_are_shared_do_not_count() -> None:
    rng = np.random.default_rng(1)
    shared, own = rng.normal(0, 0.1, size=(50_000, 1)), rng.normal(0, 0.002, size=(50_000, 2))
    ((low, high),) = confidence_set(np.array([0.81, 0.80]), shared + own).intervals
    assert low > 0
    assert high - low == pytest.approx(2 * 1.96 * 0.002 * np.sqrt(2), rel=0.03)


def test_equal_errors_leave_no_doubt() -> None:
    errors = np.zeros((100, 3)) + np.linspace(-0.1, 0.1, 100)[:, None]
    assert confidence_set(np.array([0.8, 0.8, 0.7]), errors).intervals == ((0.0, 0.0), pytest.approx((0.1, 0.1)))


def test_shares_of_the_best_are_normal_probabilities() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal([0.80, 0.79], 0.01, size=(100_000, 2))
    expected = float(scipy.stats.norm.cdf(0.01 / (0.01 * np.sqrt(2))))
    assert best_shares(scores) == pytest.approx([expected, 1 - expected], abs=0.005)


def test_central_intervals_widen_with_the_number_of_comparisons() -> None:
    replicates = np.random.default_rng(0).normal(0.1, 0.05, size=50_000)
    intervals = [central_interval(replicates, comparisons) for comparisons in (1, 2, 4, 8)]
    for (low, high), (lower, higher) in itertools.pairwise(intervals):
        assert lower < low < high < higher
    for comparisons, (low, high) in zip((1, 2, 4, 8), intervals, strict=True):
        tail = 0.05 / (2 * comparisons)
        assert (low, high) == pytest.approx(scipy.stats.norm(0.1, 0.05).ppf([tail, 1 - tail]), abs=0.005)


@pytest.mark.parametrize(("right", "images"), [(0, 2), (2, 2), (5, 6), (6, 6), (11, 29)])
def test_the_exact_interval_is_scipys(right: int, images: int) -> None:
    found = scipy.stats.binomtest(right, images).proportion_ci(0.95, method="exact")
    assert exact_interval(right / images, images) == pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize("images", [4, 10])
def test_intervals_of_a_handful_of_test_images_cover_the_true_score(images: int) -> None:
    # By resampling alone, 6 and 9 of 10 did.
    outcomes = run(Cell(2, 2, images, (2.0,)), simulations=100)
    assert outcomes["all seeds"].coverage >= 0.93
    assert outcomes["before"].coverage < 0.93


@pytest.mark.parametrize(("own", "seeds"), [(True, 4), (True, 8), (False, 4)])
def test_the_error_of_images_is_told_from_that_of_each_trainings_answers(own: bool, seeds: int) -> None:
    draw, images = np.random.default_rng(0), 2000
    chance = draw.uniform(0.3, 1.0, (2, images))
    # Each training answers of its own, or all of a strategy alike.
    right = draw.random((2, seeds if own else 1, images)) < chance[:, None]
    labels = np.zeros(images, dtype=np.int64)
    groups = [
        [share(of_seed) for of_seed in (strategy if own else np.repeat(strategy, seeds, axis=0))] for strategy in right
    ]
    drawn = draw_scores(groups, labels, seed=0, draws=4000)
    [gap] = compare_draws(drawn, ONLY_LOOK, seeds).gaps
    of_answers = (chance * (1 - chance)).mean(axis=1).sum() / images
    of_chances = (chance[0] - chance[1]).var() / images
    if own:
        assert gap.answer_error == pytest.approx(np.sqrt(of_answers / seeds), rel=0.05)
        assert gap.image_error == pytest.approx(np.sqrt(of_chances), rel=0.1)
    else:
        assert gap.answer_error == 0.0
        assert gap.image_error == pytest.approx(np.sqrt(of_answers + of_chances), rel=0.05)


def share(right: NDArray[np.bool_]) -> Weighted:
    return lambda weights: weights @ right / len(right)
