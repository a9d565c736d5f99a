"""The verdict against scipy, closed forms and simulations."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frostline.objectives.metrics import METRICS, Weighted, one_hot, score, weighted
from frostline.search.analysis.verdict import (
    CONFIDENCE,
    SAME_COST,
    Verdict,
    bootstrap_scores,
    reach_verdict,
    simultaneous_interval,
)
from frostline.search.records import FinalRecord

STRATEGIES = ("full", "partial", "feature_extraction", "lp_ft", "scratch")


def answers(labels: Any, correct: Any) -> Any:
    """Probabilities that are certain, and right exactly where ``correct`` says so."""
    classes = int(np.max(labels)) + 2
    return one_hot(np.where(correct, labels, labels + 1), classes)


def seeds(metric: str, labels: Any, correct: Any) -> list[Weighted]:
    """A metric of one strategy, right where ``correct`` (S, N) says so, as a function of image weights."""
    return [weighted(metric, answers(labels, row), labels) for row in np.asarray(correct, dtype=bool)]


def final(
    strategy: str, labels: Any, correct: Any, *, seed: int = 0, seconds: float = 10.0, metric: str = "accuracy"
) -> FinalRecord:
    """A final whose predictions are right exactly where ``correct`` says so."""
    labels, correct = np.asarray(labels, dtype=np.int64), np.asarray(correct, dtype=bool)
    recalls = [correct[labels == label].mean() for label in np.unique(labels)]
    return FinalRecord(
        strategy=strategy,
        trial_number=STRATEGIES.index(strategy),
        seed=seed,
        val_score=0.5,
        test_score=float(correct.mean() if metric == "accuracy" else np.mean(recalls)),
        seconds=seconds,
        trainable_parameters=1000,
        labels=labels,
        probabilities=answers(labels, correct),
    )


def interval(verdict: Verdict, strategy: str) -> tuple[float, float]:
    found = next(contender for contender in verdict.contenders if contender.strategy == strategy).interval
    assert found is not None
    return found


def first(count: int, of: int) -> np.ndarray:
    return np.arange(of) < count


# Independent references


def test_one_class_and_seed_give_the_interval_of_scipys_paired_bootstrap() -> None:
    rng = np.random.default_rng(3)
    labels = np.zeros(120, dtype=np.int64)
    better, worse = rng.random(120) < 0.85, rng.random(120) < 0.75
    assert better.mean() > worse.mean()
    verdict = reach_verdict([final("full", labels, better), final("scratch", labels, worse)], "accuracy")
    reference = scipy.stats.bootstrap(
        (better.astype(float), worse.astype(float)),
        lambda a, b, axis: a.mean(axis=axis) - b.mean(axis=axis),
        paired=True,
        method="percentile",
        confidence_level=CONFIDENCE,
        n_resamples=9999,
        rng=np.random.default_rng(0),
    )
    # A tenth of a standard error is several times the Monte Carlo error of 10,000 replicates; images are discrete.
    tolerance = float(0.1 * reference.standard_error + 1 / len(labels))
    assert interval(verdict, "scratch") == pytest.approx(tuple(reference.confidence_interval), abs=tolerance)


@pytest.mark.parametrize("metric", ["accuracy", "balanced_accuracy"])
def test_replicates_have_the_closed_form_of_stratified_resampling(metric: str) -> None:
    labels = np.repeat([0, 1, 2], [20, 60, 120])
    rng = np.random.default_rng(0)
    correct = (rng.random((1, 200)) < 0.7).astype(np.float64)
    (scores,) = bootstrap_scores([seeds(metric, labels, correct)], labels, seed=1, replicates=20_000)
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
    (scores,) = bootstrap_scores([[weighted(metric, probabilities, labels)]], labels, seed=0, replicates=2000)
    by_class = [np.flatnonzero(labels == label) for label in range(3)]
    drawn = [np.concatenate([rng.choice(members, len(members)) for members in by_class]) for _ in range(2000)]
    reference = [score(metric, probabilities[images], labels[images]) for images in drawn]
    # Two samples of one distribution, unless that happens which does once in a thousand.
    chance: Any = scipy.stats.ks_2samp(scores, reference)
    assert chance.pvalue > 1e-3


def test_auroc_sees_what_accuracy_cannot() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(200) % 2
    # Both predict class 0 always; only one ranks the images.
    ranks, blind = (0.4 * labels + 0.05 * rng.random(200)), 0.45 * rng.random(200)
    finals = [
        FinalRecord(name, place, 0, 0.5, score("auroc", outputs, labels), 10.0, 1000, labels, outputs)
        for place, name, second in ((0, "full", ranks), (1, "scratch", blind))
        for outputs in [np.stack([1 - second, second], axis=1).astype(np.float32)]
    ]
    verdict = reach_verdict(finals, "auroc")
    assert verdict.winner.strategy == "full"
    assert verdict.winner.mean == 1.0
    assert not verdict.contenders[1].tied
    assert [contender.metrics["accuracy"] for contender in verdict.contenders] == [0.5, 0.5]
    assert "test AUROC" in verdict.sentence()


def test_ten_thousand_replicates_of_a_metric_take_seconds() -> None:
    rng = np.random.default_rng(6)
    labels = np.arange(1200) % 10
    outputs = [rng.dirichlet(np.ones(10), size=1200) for _ in range(3)]
    for metric in ("macro_f1", "auroc"):
        started = time.process_time()
        bootstrap_scores([[weighted(metric, each, labels) for each in outputs]], labels, seed=0)
        # A fifth of what five strategies may take.
        assert time.process_time() - started < 20 / 5


def test_metrics_are_means_over_seeds_and_only_those_that_are_known() -> None:
    labels = np.arange(20) % 2
    finals = [final("full", labels, first(count, of=20), seed=seed) for seed, count in enumerate((10, 15))]
    (contender,) = reach_verdict(finals, "accuracy").contenders
    assert contender.metrics["accuracy"] == contender.mean == pytest.approx(0.625)
    assert set(contender.metrics) == set(METRICS)
    before = [replace(each, classes_only=True) for each in finals]
    (contender,) = reach_verdict(before, "accuracy").contenders
    assert set(contender.metrics) == {"accuracy", "balanced_accuracy", "macro_f1"}


def test_seeds_add_their_own_variance() -> None:
    labels = np.zeros(50, dtype=np.int64)
    correct = np.zeros((2, 50))
    correct[0] = 1.0
    (scores,) = bootstrap_scores([seeds("accuracy", labels, correct)], labels, seed=0, replicates=8000)
    # Two seeds of scores 0 and 1, two draws: 0, 1/2, 1 with chances 1/4, 1/2, 1/4, whichever images are drawn.
    values, counts = np.unique(scores.round(9), return_counts=True)
    assert values.tolist() == [0.0, 0.5, 1.0]
    assert counts / 8000 == pytest.approx([0.25, 0.5, 0.25], abs=0.025)


def test_images_are_paired_across_strategies() -> None:
    labels = np.zeros(100, dtype=np.int64)
    good = np.ones((1, 100))
    good[0, :30] = 0
    better = np.ones((1, 100))
    better[0, :20] = 0
    strategies = [seeds("accuracy", labels, better), seeds("accuracy", labels, good)]
    first_scores, second_scores = bootstrap_scores(strategies, labels, seed=0, replicates=4000)
    # They differ on ten images only: the variance of the difference is that of a share of 0.1, not of two shares.
    assert (first_scores - second_scores).std() == pytest.approx(np.sqrt(0.1 * 0.9 / 100), rel=0.06)


def test_simultaneous_intervals_widen_with_the_number_of_comparisons() -> None:
    replicates = np.random.default_rng(0).normal(0.1, 0.05, size=50_000)
    intervals = [simultaneous_interval(replicates, comparisons) for comparisons in (1, 2, 4, 8)]
    for (low, high), (lower, higher) in itertools.pairwise(intervals):
        assert lower < low < high < higher
    for comparisons, (low, high) in zip((1, 2, 4, 8), intervals, strict=True):
        tail = 0.05 / (2 * comparisons)
        assert (low, high) == pytest.approx(scipy.stats.norm(0.1, 0.05).ppf([tail, 1 - tail]), abs=0.005)


# Who wins


def test_identical_predictions_tie_and_the_cheaper_wins() -> None:
    labels = np.arange(60) % 3
    correct = first(45, of=60)
    dear = [final("full", labels, correct, seed=seed, seconds=30) for seed in range(3)]
    cheap = [final("scratch", labels, correct, seed=seed, seconds=10) for seed in range(3)]
    verdict = reach_verdict([*dear, *cheap], "accuracy")
    assert [contender.interval for contender in verdict.contenders] == [None, (0.0, 0.0)]
    assert all(contender.tied for contender in verdict.contenders)
    assert verdict.winner.strategy == "scratch"


def test_a_clear_winner_wins_whatever_it_costs() -> None:
    labels = np.arange(200) % 4
    verdict = reach_verdict(
        [
            final("feature_extraction", labels, first(100, of=200), seconds=1),
            final("full", labels, first(190, of=200), seconds=1000),
        ],
        "accuracy",
    )
    assert verdict.winner.strategy == verdict.leader.strategy == "full"
    assert not verdict.contenders[1].tied
    assert verdict.contenders[1].gap_to_leader == pytest.approx(0.45)
    sentence = verdict.sentence()
    low, high = (100 * edge for edge in verdict.winner.score_interval)
    assert sentence.startswith(
        f"full wins: 95.0 % test accuracy (mean of 1 seed, 95 % interval {low:.1f} to {high:.1f})"
    )
    assert "95 % confidence" in sentence


def test_the_interval_of_a_score_is_that_of_binomial_draws() -> None:
    """Half of the images are all right; of the 200 others, each drawn one is with probability 0.8."""
    labels = np.arange(400) % 2
    correct = np.ones(400, dtype=bool)
    correct[1:80:2] = False
    (contender,) = reach_verdict([final("full", labels, correct)], "accuracy").contenders
    tail = (1 - CONFIDENCE) / 2
    expected = (200 + scipy.stats.binom.ppf([tail, 1 - tail], 200, 0.8)) / 400
    assert contender.score_interval == pytest.approx(expected, abs=0.003)
    assert contender.score_interval[0] < contender.mean == 0.9 < contender.score_interval[1]


def near_tie(leader_seconds: float, other_seconds: float) -> Verdict:
    """full leads by one image of 200 that differ on 21: a tie."""
    labels = np.arange(200) % 2
    leader = np.ones(200, dtype=bool)
    leader[:10] = False
    other = np.ones(200, dtype=bool)
    other[-11:] = False
    return reach_verdict(
        [final("full", labels, leader, seconds=leader_seconds), final("lp_ft", labels, other, seconds=other_seconds)],
        "accuracy",
    )


def test_ties_go_to_the_cheaper_and_the_sentence_says_what_the_other_takes() -> None:
    verdict = near_tie(40, 10)
    assert verdict.leader.strategy == "full"
    assert verdict.winner.strategy == "lp_ft"
    sentence = verdict.sentence()
    assert sentence.startswith("lp_ft wins: 94.5 % ")
    for part in ("full", "95.0 %", "may be chance", "4.0x"):
        assert part in sentence


@pytest.mark.parametrize(("factor", "winner"), [(SAME_COST - 0.01, "full"), (SAME_COST + 0.01, "lp_ft")])
def test_about_the_same_cost_goes_to_the_better(factor: float, winner: str) -> None:
    verdict = near_tie(10 * factor, 10)
    assert verdict.winner.strategy == winner
    assert f"{winner} wins" in verdict.sentence()


def test_a_tie_at_the_same_cost_names_the_other_and_claims_no_lead() -> None:
    sentence = near_tie(10, 10).sentence()
    assert sentence.startswith("full wins: 95.0 % ")
    assert "lp_ft is statistically tied with it" in sentence
    assert "beyond chance" not in sentence


def test_the_cheapest_of_those_that_do_not_tie_does_not_matter() -> None:
    labels = np.arange(200) % 2
    finals = [
        final("full", labels, first(195, of=200), seconds=20),
        final("lp_ft", labels, first(194, of=200), seconds=10),
        final("scratch", labels, first(50, of=200), seconds=0.1),
    ]
    assert reach_verdict(finals, "accuracy").winner.strategy == "lp_ft"


def test_a_single_strategy_wins_without_being_ahead_of_others() -> None:
    labels = np.arange(20) % 2
    verdict = reach_verdict([final("full", labels, first(15, of=20), seed=seed) for seed in range(3)], "accuracy")
    assert verdict.winner.strategy == "full"
    assert "others" not in verdict.sentence()
    assert "75.0 %" in verdict.sentence()


def test_balanced_accuracy_weighs_classes_equally() -> None:
    # 180 of a class, 20 of the other: one strategy ignores the small class, the other does not.
    labels = np.repeat([0, 1], [180, 20])
    ignores = labels == 0
    even = np.concatenate([first(153, of=180), first(17, of=20)])
    by_images = reach_verdict([final("full", labels, ignores), final("lp_ft", labels, even)], "accuracy")
    by_classes = reach_verdict(
        [
            final(name, labels, right, metric="balanced_accuracy")
            for name, right in (("full", ignores), ("lp_ft", even))
        ],
        "balanced_accuracy",
    )
    assert by_images.leader.strategy == "full"
    assert by_classes.leader.strategy == by_classes.winner.strategy == "lp_ft"
    assert [contender.mean for contender in by_classes.contenders] == pytest.approx([0.85, 0.5])
    low, high = interval(by_classes, "full")
    # Standard error of (0.85 - 1) / 2 + 0.85 / 2, classes independent.
    error = np.sqrt(0.85 * 0.15 / 4 * (1 / 180 + 1 / 20))
    assert (low, high) == pytest.approx((0.35 - 1.96 * error, 0.35 + 1.96 * error), abs=0.02)
    assert "balanced accuracy" in by_classes.sentence()


# Properties


@st.composite
def many_finals(draw: st.DrawFn) -> list[FinalRecord]:
    images, seeds = draw(st.integers(20, 60)), draw(st.integers(1, 3))
    names = draw(st.lists(st.sampled_from(STRATEGIES), min_size=2, max_size=4, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.sort(np.concatenate([[0, 1, 2], rng.integers(3, size=images - 3)]))
    levels = {name: draw(st.sampled_from([0.3, 0.6, 0.9, 1.0])) for name in names}
    return [
        final(name, labels, rng.random(images) < levels[name], seed=seed, seconds=float(rng.integers(1, 50)))
        for name in names
        for seed in range(seeds)
    ]


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(many_finals(), st.randoms(use_true_random=False))
def test_the_order_of_the_finals_does_not_matter(finals: list[FinalRecord], random: Any) -> None:
    shuffled = list(finals)
    random.shuffle(shuffled)
    assert reach_verdict(shuffled, "accuracy") == reach_verdict(finals, "accuracy")


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(many_finals())
def test_intervals_contain_the_observed_difference(finals: list[FinalRecord]) -> None:
    verdict = reach_verdict(finals, "accuracy")
    means = {contender.strategy: contender.mean for contender in verdict.contenders}
    assert verdict.leader.mean == max(means.values())
    for contender in verdict.contenders[1:]:
        assert contender.interval is not None
        assert contender.interval[0] - 1e-9 <= contender.gap_to_leader <= contender.interval[1] + 1e-9
        assert contender.gap_to_leader == pytest.approx(verdict.leader.mean - means[contender.strategy])
    assert verdict.winner.tied
    cheapest = min(contender.seconds for contender in verdict.contenders if contender.tied)
    assert verdict.winner.seconds <= SAME_COST * cheapest


def simulate(rng: np.random.Generator, levels: Sequence[float], images: int = 80, seeds: int = 3) -> Verdict:
    labels = np.arange(images) % 4
    finals = [
        final(STRATEGIES[place], labels, rng.random(images) < level, seed=seed)
        for place, level in enumerate(levels)
        for seed in range(seeds)
    ]
    return reach_verdict(finals, "accuracy", seed=int(rng.integers(2**31)))


def test_without_a_true_difference_a_sole_winner_is_rarely_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.search.analysis.verdict.bootstrap_scores", _fewer_replicates)
    rng = np.random.default_rng(0)
    verdicts = [simulate(rng, [0.75] * 3) for _ in range(200)]
    sole = sum(not any(contender.tied for contender in verdict.contenders[1:]) for verdict in verdicts)
    assert sole <= 20


@pytest.mark.parametrize("images_per_class", [1, 2])
def test_few_images_a_class_are_no_evidence_either(monkeypatch: pytest.MonkeyPatch, images_per_class: int) -> None:
    monkeypatch.setattr("frostline.search.analysis.verdict.bootstrap_scores", _fewer_replicates)
    rng = np.random.default_rng(2)
    labels = np.repeat(np.arange(10), images_per_class)

    def alike() -> list[FinalRecord]:
        return [final(name, labels, rng.random(len(labels)) < 0.75) for name in STRATEGIES[:2]]

    sole = sum(not reach_verdict(alike(), "accuracy").contenders[1].tied for _ in range(200))
    assert sole <= 20


def test_a_true_difference_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.search.analysis.verdict.bootstrap_scores", _fewer_replicates)
    rng = np.random.default_rng(1)
    found = [simulate(rng, [0.95, 0.65, 0.65]) for _ in range(30)]
    assert all(not contender.tied for verdict in found for contender in verdict.contenders[1:])
    assert {verdict.winner.strategy for verdict in found} == {STRATEGIES[0]}


def _fewer_replicates(strategies: Any, labels: Any, *, seed: int) -> Any:
    return bootstrap_scores(strategies, labels, seed=seed, replicates=1000)


# Wrong input


def test_finals_of_different_test_images_are_refused() -> None:
    labels = np.arange(12) % 3
    finals = [final("full", labels, first(6, of=12)), final("scratch", labels[::-1], first(6, of=12))]
    with pytest.raises(ValueError, match="same images"):
        reach_verdict(finals, "accuracy")


def test_no_finals_are_refused() -> None:
    with pytest.raises(ValueError, match="no finals"):
        reach_verdict([], "accuracy")
