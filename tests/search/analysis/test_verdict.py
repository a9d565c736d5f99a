"""The verdict against scipy, closed forms and simulations."""

from __future__ import annotations

import math
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
from frostline.search.analysis.comparison import CONFIDENCE, Comparison, Gap, Look, Ranked
from frostline.search.analysis.leaks import Leaks
from frostline.search.analysis.verdict import SAME_COST, Remedy, Verdict, reach_verdict
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
    assert sentence.startswith(f"full wins: 95.0 % test accuracy (one seed, 95 % interval {low:.1f} to {high:.1f})")
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


# What is said of a comparison, whatever it is


def told(
    *gaps: Gap,
    scores: Sequence[float] = (0.9, 0.8, 0.7),
    seconds: Sequence[float] = (10.0, 10.0, 10.0),
    shares: Sequence[float] = (0.5, 0.3, 0.2),
    seeds: int = 2,
    indifference: float = 0.01,
    left: Sequence[str] = (),
) -> Verdict:
    """The verdict of full, partial and so on, with these scores, seconds and gaps."""
    count = 1 + len(gaps)
    labels = np.arange(10) % 2
    finals = [
        replace(
            final(STRATEGIES[place], labels, first(5, of=10), seed=seed),
            test_score=scores[place] + (0.01 if seed else -0.01) * (seeds > 1),
            seconds=seconds[place] + seed,
        )
        for place in range(count)
        for seed in range(seeds)
    ]

    def comparing(ranked: Ranked, metric: str, seed: int, look: Look) -> Comparison:
        assert [len(group) for group in ranked] == [seeds] * count
        assert look.racing == count - len(left)
        return Comparison(tuple((0.1, 0.95) for _ in range(count)), gaps, tuple(shares[:count]))

    return reach_verdict(finals, "accuracy", indifference=indifference, left=left, comparing=comparing)


def gap(
    low: float, high: float, *, most: float = 1.0, images: float = 0.02, seeds: float = 0.03, answers: float = 0.0
) -> Gap:
    return Gap((low, high), images, seeds, answers, most, behind=low > 0)


def names(verdict: Verdict) -> list[str]:
    return [contender.strategy for contender in verdict.contenders]


def test_the_best_mean_leads_of_equals_the_cheaper_and_who_left_comes_last() -> None:
    both = (gap(-0.1, 0.1), gap(-0.1, 0.1))
    assert names(told(*both, scores=(0.7, 0.9, 0.8))) == ["partial", "feature_extraction", "full"]
    equal = told(*both, scores=(0.8, 0.8, 0.8), seconds=(3.0, 1.0, 2.0))
    assert names(equal) == ["partial", "feature_extraction", "full"]
    assert names(told(*both, scores=(0.7, 0.9, 0.8), left=("partial",))) == ["feature_extraction", "full", "partial"]


def test_a_contender_holds_the_numbers_of_its_finals() -> None:
    verdict = told(gap(-0.05, 0.25, most=0.2), scores=(0.9, 0.8), seconds=(10.0, 20.0))
    leader, other = verdict.contenders
    assert (leader.gap, leader.interval, leader.gap_to_leader, leader.tied, leader.as_good) == (
        None,
        None,
        0,
        True,
        True,
    )
    assert (other.interval, other.tied, other.as_good) == ((-0.05, 0.25), True, False)
    assert other.gap_to_leader == pytest.approx(0.1)
    assert other.scores == pytest.approx((0.79, 0.81))
    assert (other.trial_number, other.trainable_parameters) == (1, 1000)
    assert (other.seconds, leader.seconds) == (20.5, 10.5)
    # Two scores that are 0.02 apart.
    assert other.spread == pytest.approx(0.02 / np.sqrt(2))
    assert other.mean == pytest.approx(0.8)
    assert told(seeds=1).leader.spread == 0.0
    assert (verdict.test_images, verdict.metric, verdict.confidence, verdict.leaks) == (10, "accuracy", 0.95, None)
    assert verdict.best_shares == {"full": 0.5, "partial": 0.3}


def test_temperatures_are_averaged_where_all_seeds_have_one() -> None:
    verdict = told(seeds=3)
    (contender,) = verdict.contenders
    assert contender.temperature is None

    def of(*temperatures: float | None) -> float | None:
        finals = zip(contender.finals, temperatures, strict=True)
        return replace(contender, finals=tuple(replace(each, temperature=value) for each, value in finals)).temperature

    assert of(1.0, 2.0, 4.5) == 2.5
    assert of(1.0, None, 4.5) is None


@pytest.mark.parametrize(
    ("most", "seconds", "winner"),
    [
        (0.011, (100.0, 1.0), "full"),
        (0.01, (100.0, 1.0), "partial"),
        (-0.5, (100.0, 1.0), "partial"),
        # 1.5 times the cost of the cheapest is the same.
        (0.0, (14.5, 9.5), "full"),
        (0.0, (14.6, 9.5), "partial"),
        (0.0, (9.5, 14.5), "full"),
    ],
)
def test_a_cheaper_one_wins_if_the_leader_is_unlikely_to_be_better_by_what_matters(
    most: float, seconds: tuple[float, float], winner: str
) -> None:
    # Of two seeds, the second takes a second more.
    verdict = told(gap(-0.1, 0.1, most=most), seconds=seconds, scores=(0.901, 0.9))
    assert verdict.leader.strategy == "full"
    assert verdict.winner.strategy == winner
    assert verdict.undecided == (winner == "full")


def test_of_several_cheap_ones_the_best_wins_and_one_that_is_not_as_good_sets_no_price() -> None:
    good, poor = gap(-0.1, 0.1, most=0.0), gap(0.1, 0.3, most=0.3)
    assert told(good, good, seconds=(100.0, 10.0, 9.0)).winner.strategy == "partial"
    assert told(good, good, seconds=(100.0, 10.0, 2.0)).winner.strategy == "feature_extraction"
    assert told(good, poor, seconds=(10.0, 10.0, 0.1)).winner.strategy == "full"


def test_a_word_for_each_standing() -> None:
    def words(verdict: Verdict) -> list[str]:
        return [verdict.standing(contender) for contender in verdict.contenders]

    tie, behind = gap(-0.1, 0.3), gap(0.1, 0.3)
    assert words(told(tie, behind)) == ["leads", "tie", ""]
    assert words(told(behind, behind)) == ["winner", "", ""]
    assert words(told(behind, tie)) == ["leads", "", "tie"]
    assert words(told(gap(-0.1, 0.1, most=0.0), behind, seconds=(90.0, 1.0, 1.0))) == ["tie", "winner", ""]
    assert words(told()) == ["winner"]


def test_sentences_say_who_wins_by_what_or_what_is_left_open() -> None:
    score = "90.0 % test accuracy (mean of 2 seeds, 95 % interval 10.0 to 95.0)"
    assert told().sentence() == f"full wins: {score}, with no other to compare."
    decided = told(gap(0.01, 0.3), gap(0.1, 0.3))
    assert decided.sentence() == f"full wins: {score}, ahead of all others beyond chance (95 % confidence)."
    undecided = told(gap(-0.01, 0.21), gap(0.1, 0.3), shares=(0.78, 0.22, 0.0))
    assert undecided.undecided
    assert undecided.sentence().startswith(
        f"Undecided: full leads with {score}. The best may be: full 78 %, partial 22 %. About "
    )
    cheaper = told(gap(-0.1, 0.1, most=0.0), seconds=(79.5, 19.5), scores=(0.9, 0.89), indifference=0.02)
    assert cheaper.sentence() == (
        "partial wins: 89.0 % test accuracy (mean of 2 seeds, 95 % interval 10.0 to 95.0). "
        "full scored 90.0 % and takes 4.0x the training time; it is unlikely to be better by more than 2 points."
    )
    assert "more than 1 point." in told(gap(-0.1, 0.1, most=0.0), seconds=(80.0, 1.0)).sentence()
    assert "more than 0.5 points." in told(gap(-0.1, 0.1, most=0.0), seconds=(80.0, 1.0), indifference=0.005).sentence()


def test_leaks_follow_the_verdict_and_grave_ones_come_first() -> None:
    verdict = told()
    few, many = (Leaks("accuracy", images, 100, {"full": 0.8}) for images in (2, 20))
    assert replace(verdict, leaks=few).sentence() == f"{verdict.sentence()} {few.sentence('full')}"
    assert replace(verdict, leaks=many).sentence().startswith(f"Not to be trusted: {verdict.sentence()} But 20 of 100")
    assert replace(verdict, leaks=replace(few, images=1)).sentence() == verdict.sentence()


@pytest.mark.parametrize(
    ("images", "seeds", "answers"),
    [
        *((0.02, 0.03, 0.0), (0.005, 0.03, 0.0), (0.03, 0.005, 0.0), (0.0, 0.03, 0.0), (0.03, 0.0, 0.0)),
        *((0.01, 0.01, 0.03), (0.0, 0.0, 0.03), (0.03, 0.01, 0.01)),
    ],
)
def test_the_remedy_is_what_puts_zero_at_the_edge_of_the_interval(images: float, seeds: float, answers: float) -> None:
    observed, width = 0.051, 2.5
    half = width * math.hypot(images, seeds, answers)
    of_errors = {"images": images, "seeds": seeds, "answers": answers}
    verdict = told(gap(observed - half, observed + half, **of_errors), seeds=4)
    # So many times the seeds divide their variance and that of the answers; so do images. The gap must be as wide as
    # the half interval.
    left = (observed / width) ** 2
    by_seeds = (seeds**2 + answers**2) / (left - images**2) if left > images**2 else np.inf
    by_images = (images**2 + answers**2) / (left - seeds**2) if left > seeds**2 else np.inf
    expected = [
        int(np.ceil(factor * number)) if factor <= 20 else None for factor, number in ((by_seeds, 4), (by_images, 10))
    ]
    assert verdict.undecided
    assert [verdict.remedy.seeds, verdict.remedy.test_images] == expected


def test_the_remedy_serves_the_closest_of_those_that_tie() -> None:
    near, far, behind = gap(-0.05, 0.13, images=0.001), gap(-0.03, 0.15, images=0.001), gap(0.2, 0.3)
    one, other = (told(each, seeds=4).remedy for each in (near, far))
    assert (one.seeds, other.seeds) == (21, 10)
    assert told(near, far, seeds=4).remedy == told(far, near, seeds=4).remedy == one
    assert told(behind, far, seeds=4).remedy == other
    assert told(behind, seeds=4).remedy == told(seeds=4).remedy == Remedy()
    # One that is recommended though it ties is no doubt to remove.
    assert told(gap(-0.1, 0.1, most=0.0), seconds=(90.0, 1.0)).remedy == Remedy()


@pytest.mark.parametrize("interval", [(-0.1, 0.1), (-0.3, 0.1)])
def test_nothing_decides_where_the_leader_does_not_lead(interval: tuple[float, float]) -> None:
    verdict = told(gap(*interval))
    assert verdict.remedy == Remedy()
    assert verdict.sentence().endswith("Neither more seeds nor more test images alone would decide it.")


def test_more_than_twenty_times_is_no_advice() -> None:
    def seeds(observed: float) -> int | None:
        half = 2 * 0.04
        return told(gap(observed - half, observed + half, images=0.0, seeds=0.04), seeds=3).remedy.seeds

    # The gap must be the half interval: (0.08 / gap)² times the seeds.
    assert seeds(0.0799) == 4
    assert seeds(0.08 / np.sqrt(19.99)) == 60
    assert seeds(0.08 / np.sqrt(20.01)) is None
    assert Remedy(1200, 4).sentence() == "About 1,200 seeds or 4 test images would decide it, if the lead is real."
    assert Remedy(None, 4000).sentence() == "About 4,000 test images would decide it, if the lead is real."
