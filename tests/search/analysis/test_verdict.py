"""The verdict against scipy, closed forms and simulations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.stats
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from frostline.objectives.metrics import METRICS, Weighted, one_hot, score, weighted
from frostline.search.analysis.comparison import CONFIDENCE
from frostline.search.analysis.verdict import SAME_COST, Verdict, reach_verdict
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


def test_metrics_are_means_over_seeds_and_only_those_that_are_known() -> None:
    labels = np.arange(20) % 2
    finals = [final("full", labels, first(count, of=20), seed=seed) for seed, count in enumerate((10, 15))]
    (contender,) = reach_verdict(finals, "accuracy").contenders
    assert contender.metrics["accuracy"] == contender.mean == pytest.approx(0.625)
    assert set(contender.metrics) == set(METRICS)
    before = [replace(each, classes_only=True) for each in finals]
    (contender,) = reach_verdict(before, "accuracy").contenders
    assert set(contender.metrics) == {"accuracy", "balanced_accuracy", "macro_f1"}


# Who wins


def test_identical_predictions_tie_and_the_cheaper_wins() -> None:
    labels = np.arange(60) % 3
    correct = first(45, of=60)
    dear = [final("full", labels, correct, seed=seed, seconds=30) for seed in range(3)]
    cheap = [final("scratch", labels, correct, seed=seed, seconds=10) for seed in range(3)]
    verdict = reach_verdict([*dear, *cheap], "accuracy")
    leader, other = verdict.contenders
    assert leader.interval is None
    assert other.interval is not None
    assert sum(other.interval) == pytest.approx(0)
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
    finals = [final("full", labels, correct, seed=seed) for seed in range(20)]
    (contender,) = reach_verdict(finals, "accuracy").contenders
    tail = (1 - CONFIDENCE) / 2
    expected = (200 + scipy.stats.binom.ppf([tail, 1 - tail], 200, 0.8)) / 400
    assert contender.score_interval == pytest.approx(tuple(expected), abs=0.005)
    assert contender.score_interval[0] < 0.9 < contender.score_interval[1]


def lead(points: float, images: int, seeds: int, leader_seconds: float, other_seconds: float) -> Verdict:
    """full leads with 95 %; lp_ft is wrong on other images, but for small gaps, and seeds do not differ."""
    labels = np.arange(images) % 2
    finals = []
    for name, gap, seconds in (("full", 0.0, leader_seconds), ("lp_ft", points, other_seconds)):
        right = first(round(images * (0.95 - gap / 100)), of=images)
        turned = right[::-1] if gap > 1 else right
        finals += [final(name, labels, turned, seed=seed, seconds=seconds) for seed in range(seeds)]
    return reach_verdict(finals, "accuracy")


def test_a_cheaper_one_that_is_as_good_wins_and_the_sentence_says_what_the_other_takes() -> None:
    verdict = lead(0.1, images=2000, seeds=8, leader_seconds=40, other_seconds=10)
    assert verdict.leader.strategy == "full"
    assert verdict.winner.strategy == "lp_ft"
    assert not verdict.undecided
    sentence = verdict.sentence()
    assert sentence.startswith("lp_ft wins: 94.9 % ")
    for part in ("full scored 95.0 %", "4.0x", "unlikely to be better by more than 1 point"):
        assert part in sentence


@pytest.mark.parametrize(("factor", "winner"), [(SAME_COST - 0.01, "full"), (SAME_COST + 0.01, "lp_ft")])
def test_about_the_same_cost_goes_to_the_better(factor: float, winner: str) -> None:
    assert lead(0.1, images=2000, seeds=8, leader_seconds=10 * factor, other_seconds=10).winner.strategy == winner


def test_a_tie_is_no_reason_to_give_up_points() -> None:
    """As on 120 photos of garments: 4 points less, which may be chance, for half of the time."""
    verdict = lead(4, images=120, seeds=3, leader_seconds=20, other_seconds=10)
    assert all(contender.tied for contender in verdict.contenders)
    assert verdict.undecided
    assert verdict.winner.strategy == "full"
    sentence = verdict.sentence()
    assert sentence.startswith("Undecided: full leads with 95.0 % ")
    assert re.search(r"The best may be: full \d\d %, lp_ft \d+ %\.", sentence)
    assert "beyond chance" not in sentence


def test_what_is_said_to_decide_it_decides_it() -> None:
    verdict = lead(2, images=200, seeds=8, leader_seconds=10, other_seconds=10)
    assert verdict.undecided
    asked = re.search(r"About .*?([\d,]+) test images would decide it", verdict.sentence())
    assert asked
    images = int(asked[1].replace(",", ""))
    assert images > 200
    assert not lead(2, images=round(1.15 * images), seeds=8, leader_seconds=10, other_seconds=10).undecided
    assert lead(2, images=round(0.8 * images), seeds=8, leader_seconds=10, other_seconds=10).undecided


def test_the_cheapest_of_those_that_are_behind_does_not_matter() -> None:
    labels = np.arange(200) % 2
    finals = [
        final(name, labels, first(count, of=200), seed=seed, seconds=seconds)
        for name, count, seconds in (("full", 195, 20.0), ("lp_ft", 195, 10.0), ("scratch", 50, 0.1))
        for seed in range(8)
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

    def verdict(metric: str) -> Verdict:
        rights = {"full": ignores, "lp_ft": even}
        finals = [
            final(name, labels, right, seed=seed, metric=metric) for name, right in rights.items() for seed in range(10)
        ]
        return reach_verdict(finals, metric)

    by_images, by_classes = verdict("accuracy"), verdict("balanced_accuracy")
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
    assert verdict.winner.as_good
    cheapest = min(contender.seconds for contender in verdict.contenders if contender.as_good)
    assert verdict.winner.seconds <= SAME_COST * cheapest


def simulate(rng: np.random.Generator, levels: Sequence[float], images: int = 80, seeds: int = 3) -> Verdict:
    labels = np.arange(images) % 4
    finals = [
        final(STRATEGIES[place], labels, rng.random(images) < level, seed=seed)
        for place, level in enumerate(levels)
        for seed in range(seeds)
    ]
    return reach_verdict(finals, "accuracy", seed=int(rng.integers(2**31)))


def test_a_true_difference_is_found() -> None:
    rng = np.random.default_rng(1)
    found = [simulate(rng, [0.95, 0.65, 0.65]) for _ in range(30)]
    assert all(not contender.tied for verdict in found for contender in verdict.contenders[1:])
    assert {verdict.winner.strategy for verdict in found} == {STRATEGIES[0]}


# Wrong input


def test_finals_of_different_test_images_are_refused() -> None:
    labels = np.arange(12) % 3
    finals = [final("full", labels, first(6, of=12)), final("scratch", labels[::-1], first(6, of=12))]
    with pytest.raises(ValueError, match="same images"):
        reach_verdict(finals, "accuracy")


def test_no_finals_are_refused() -> None:
    with pytest.raises(ValueError, match="no finals"):
        reach_verdict([], "accuracy")
