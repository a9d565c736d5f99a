"""Draws of true scores against closed forms, scikit-learn's metrics on resampled images, and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from frostline.objectives.metrics import Weighted, one_hot, score, weighted
from frostline.search.analysis import score_draws
from frostline.search.analysis.score_draws import ScoreDraws, bootstrap_scores, draw_scores, draws_of


def seeds(metric: str, labels: Any, correct: Any) -> list[Weighted]:
    """A metric of one strategy, right where ``correct`` (S, N) says so, as a function of image weights."""
    classes = int(np.max(labels)) + 2
    rows = np.asarray(correct, dtype=bool)
    return [weighted(metric, one_hot(np.where(row, labels, labels + 1), classes), labels) for row in rows]


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_replicates_have_the_closed_form_of_stratified_resampling(metric: str) -> None:
    labels = np.repeat([0, 1, 2], [20, 60, 120])
    rng = np.random.default_rng(0)
    correct = (rng.random((1, 200)) < 0.7).astype(np.float64)
    ((scores,),) = (each.T for each in bootstrap_scores([seeds(metric, labels, correct)], labels, rng, 20_000))
    recalls = np.array([correct[0, labels == label].mean() for label in range(3)])
    sizes = np.array([20, 60, 120])
    shares = sizes / sizes.sum() if metric == "accuracy" else np.full(3, 1 / 3)
    # Correct images of a class are binomial, classes independent.
    variance = np.sum(shares**2 * recalls * (1 - recalls) / sizes)
    assert scores.mean() == pytest.approx(shares @ recalls, abs=5 * np.sqrt(variance / 20_000))
    assert scores.std() == pytest.approx(np.sqrt(variance), rel=0.03)


@pytest.mark.parametrize("metric", ["macro_f1", "auroc", "log_loss", "calibration_error"])
def test_any_metric_is_resampled_as_if_the_drawn_images_were_the_test_set(metric: str) -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], [9, 12, 15])
    probabilities = rng.dirichlet(np.ones(3), size=36)
    ((scores,),) = (each.T for each in bootstrap_scores([[weighted(metric, probabilities, labels)]], labels, rng, 2000))
    by_class = [np.flatnonzero(labels == label) for label in range(3)]
    drawn = [np.concatenate([rng.choice(members, len(members)) for members in by_class]) for _ in range(2000)]
    reference = [score(metric, probabilities[images], labels[images]) for images in drawn]
    # Two samples of one distribution, unless that happens which does once in a thousand.
    chance: Any = scipy.stats.ks_2samp(scores, reference)
    assert chance.pvalue > 1e-3


def test_images_are_paired_across_strategies() -> None:
    labels = np.zeros(100, dtype=np.int64)
    good = np.ones((1, 100))
    good[0, :30] = 0
    better = np.ones((1, 100))
    better[0, :20] = 0
    strategies = [seeds("accuracy", labels, better), seeds("accuracy", labels, good)]
    errors = draw_scores(strategies, labels, seed=0, draws=4000).images
    # They differ on ten images only: the variance of the difference is that of a share of 0.1, not of two shares.
    assert (errors[:, 0] - errors[:, 1]).std() == pytest.approx(np.sqrt(0.1 * 0.9 / 100), rel=0.06)


@pytest.mark.parametrize("count", [1, 4])
def test_test_images_leave_open_what_the_closed_form_says(count: int) -> None:
    labels = np.zeros(100, dtype=np.int64)
    correct = np.repeat((np.arange(100) < 80)[None], count, axis=0)
    drawn = draw_scores([seeds("accuracy", labels, correct)], labels, seed=0, draws=20_000)
    assert drawn.means.tolist() == [0.8]
    # Student's variance of a mean with 99 degrees of freedom.
    assert drawn.images.std() == pytest.approx(np.sqrt(0.8 * 0.2 / 99 * 99 / 97), rel=0.03)
    assert drawn.images.mean() == pytest.approx(0, abs=0.001)
    assert (drawn.scores >= 0).all()
    assert (drawn.scores <= 1).all()


def test_many_seeds_leave_open_their_standard_error() -> None:
    rng = np.random.default_rng(1)
    labels = np.zeros(4000, dtype=np.int64)
    levels = np.clip(rng.normal(0.7, 0.04, size=40), 0, 1)
    # The easy images of a seed are the same ones: only its level differs.
    correct = np.arange(4000) / 4000 < levels[:, None]
    drawn = draw_scores([seeds("accuracy", labels, correct)], labels, seed=0, draws=4000)
    assert drawn.seeds.std() == pytest.approx(levels.std(ddof=1) / np.sqrt(40), rel=0.15)


def test_what_new_images_change_between_seeds_is_no_spread_of_seeds() -> None:
    """Seeds that differ on single images only, as coins do, have no spread of their own."""
    rng = np.random.default_rng(2)
    labels = np.zeros(200, dtype=np.int64)
    drawn = draw_scores([seeds("accuracy", labels, rng.random((30, 200)) < 0.7)], labels, seed=0, draws=4000)
    apart = np.sqrt(0.7 * 0.3 / 200)
    assert drawn.seeds.std() < 0.8 * apart / np.sqrt(30)
    assert drawn.images.std() == pytest.approx(apart / np.sqrt(30), rel=0.25)


@pytest.mark.parametrize(
    ("sizes", "strata"),
    [
        ([5, 7], [5, 7]),
        ([4, 7], [11]),
        ([4, 5, 9], [9, 9]),
        ([1, 1, 1, 9, 20], [12, 20]),
        ([2, 3, 4, 6], [9, 6]),
        ([3], [3]),
        ([1, 1], [2]),
        ([6, 5, 5], [5, 5, 6]),
    ],
)
def test_classes_of_fewer_than_five_images_are_resampled_together(sizes: list[int], strata: list[int]) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    found = score_draws._strata(labels)
    assert [len(members) for members in found] == strata
    assert sorted(np.concatenate(found).tolist()) == list(range(sum(sizes)))
    counts = score_draws._resample(labels, 300, np.random.default_rng(0))
    assert counts.shape == (300, sum(sizes))
    for members in found:
        assert (counts[:, members].sum(axis=1) == len(members)).all()
    assert counts.mean() == pytest.approx(1.0)
    assert np.abs(counts.mean(axis=0) - 1).max() < 0.3


def test_residuals_are_the_variance_between_seeds_over_resampled_images() -> None:
    replicates = np.random.default_rng(0).normal(size=(400, 3))
    centered = replicates - replicates.mean(axis=1, keepdims=True)
    expected = np.mean([np.mean((seed - seed.mean()) ** 2) for seed in centered.T]) * 3 / 2
    assert score_draws._residual(replicates) == pytest.approx(expected)
    # Of one seed nothing is known; what all seeds share does not count.
    assert score_draws._residual(replicates[:, :1]) == 0.0
    assert score_draws._residual(np.repeat(replicates[:, :1], 4, axis=1)) == pytest.approx(0.0)


def test_replicates_are_as_many_as_are_asked_for_and_the_same_images_for_all() -> None:
    labels, seen = np.arange(20) % 2, list[np.ndarray]()

    def share(weights: Any) -> Any:
        seen.append(weights)
        return weights[:, :10].sum(axis=1) / 20

    one, other = bootstrap_scores([[share, share], [share]], labels, np.random.default_rng(0), 1200)
    assert (one.shape, other.shape) == ((1200, 2), (1200, 1))
    assert (one == other).all()
    assert [len(weights) for weights in seen] == [500] * 3 + [500] * 3 + [200] * 3
    assert len(np.unique(seen[0], axis=0)) > 400
    assert not np.array_equal(seen[0], seen[3])


def test_errors_are_those_of_images_and_seeds_and_scores_stay_shares() -> None:
    means, images, seeds = (
        np.array([0.9, 0.1]),
        np.array([[0.2, -0.3], [0.0, 0.1]]),
        np.array([[0.1, 0.05], [0.0, 0.2]]),
    )
    drawn = ScoreDraws(means, images, seeds, np.zeros_like(seeds), np.zeros(2), {2: 3 * seeds})
    assert drawn.errors.tolist() == (images + seeds).tolist()
    assert drawn.earlier_errors(2).tolist() == (images + 3 * seeds).tolist()
    np.testing.assert_allclose(drawn.scores, [[1.0, 0.0], [0.9, 0.4]])


def test_earlier_seeds_are_drawn_by_their_number_and_no_more_than_there_are() -> None:
    labels = np.zeros(50, dtype=np.int64)
    rng = np.random.default_rng(0)
    two, four = (seeds("accuracy", labels, rng.random((count, 50)) < 0.7) for count in (2, 4))
    drawn = draw_scores([four, two], labels, seed=0, draws=3000, earlier=[2, 3])
    assert list(drawn.earlier_seeds) == [2, 3]
    assert drawn.seeds.shape == drawn.images.shape == (3000, 2)
    # A strategy of two seeds has no third.
    assert (drawn.earlier_seeds[2][:, 1] == drawn.seeds[:, 1]).all()
    assert (drawn.earlier_seeds[3][:, 1] == drawn.seeds[:, 1]).all()
    assert drawn.earlier_seeds[2][:, 0].std() > drawn.earlier_seeds[3][:, 0].std() > drawn.seeds[:, 0].std()
    again, other = (draw_scores([four, two], labels, seed=seed, draws=3000) for seed in (0, 1))
    assert (again.images == drawn.images).all()
    assert not np.array_equal(other.images, drawn.images)
    assert (draws_of("accuracy"), draws_of("my_metrics:top_two")) == (10_000, 2_000)


def test_classes_that_are_strata_enlarge_what_their_images_leave_open() -> None:
    """Of n images in k strata, n - k vary freely; a share of a stratum of m images has the variance p (1 - p) / m."""
    labels = np.repeat(np.arange(4), 6)
    correct = np.tile([1, 1, 1, 1, 0, 0], 4)[None]
    drawn = draw_scores([seeds("accuracy", labels, correct)], labels, seed=0, draws=40_000)
    free = scipy.stats.t(23)
    assert drawn.images.std() == pytest.approx(np.sqrt(2 / 9 / 24 * 24 / 20) * free.std(), rel=0.02)
