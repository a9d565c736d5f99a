"""Draws of true scores against closed forms, scikit-learn's metrics on resampled images, and simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.stats

from frostline.objectives.metrics import Weighted, one_hot, score, weighted
from frostline.search.analysis.score_draws import bootstrap_scores, draw_scores


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
