"""The data-size curve: points, intervals and crossovers against hand computations."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import norm

from frostline.objectives.metrics import one_hot
from frostline.search.analysis.data_curve import Crossover, CurveRecord, trace_curve
from frostline.search.analysis.verdict import CONFIDENCE, reach_verdict
from frostline.search.records import FinalRecord

IMAGES = 400
LABELS = np.arange(IMAGES) % 2
STRATEGIES = ("feature_extraction", "full", "scratch")


def final(strategy: str, correct: int, seed: int = 1000, first: int = 0) -> FinalRecord:
    """Right on so many test images, from some image on."""
    right = np.isin(np.arange(IMAGES), np.arange(first, first + correct) % IMAGES)
    predictions = np.where(right, LABELS, 1 - LABELS)
    probabilities = one_hot(predictions, 2)
    return FinalRecord(strategy, 0, seed, 0.5, correct / IMAGES, 1.0, 9, LABELS, probabilities)


def curve_of(correct: Mapping[int, tuple[int, ...]]):
    """Ten seeds that do not differ, so that nearly all uncertainty is that of the test images."""
    records = [
        CurveRecord(images, final(strategy, number, seed))
        for images, row in correct.items()
        for strategy, number in zip(STRATEGIES, row, strict=False)
        for seed in range(10)
    ]
    return trace_curve(records, "accuracy", STRATEGIES)


def crossovers(correct: Mapping[int, tuple[int, ...]]) -> dict[str, Crossover]:
    return {crossover.strategy: crossover for crossover in curve_of(correct).crossovers}


def test_the_crossover_is_the_smallest_size_from_which_on_the_mean_stays_above() -> None:
    # full: below, above, below, above, above -> from 80 on. scratch: never above at the end.
    found = crossovers(
        {10: (200, 180, 100), 20: (220, 230, 110), 40: (240, 238, 250), 80: (250, 255, 240), 160: (260, 330, 260)}
    )
    assert set(found) == {"full", "scratch"}
    full = found["full"]
    assert full.point is not None
    assert (full.point.images, full.first) == (80, False)
    assert full.point.difference == pytest.approx(5 / 400)
    assert not full.significant
    assert full.sentence().startswith(
        "full overtakes feature_extraction from 80 training images on (by 1.2 points there"
    )
    assert full.sentence().endswith("so it may be chance there); it was ahead with 20.")
    assert full.earlier == (20,)
    assert found["scratch"].point is None
    assert not found["scratch"].significant
    assert (
        found["scratch"].sentence()
        == "scratch is not ahead of feature_extraction with all training images; it was with 40."
    )


def test_one_that_is_ahead_of_all_sizes_says_so_and_where_the_interval_excludes_0_it_is_sure() -> None:
    full = crossovers({10: (200, 280), 20: (220, 290)})["full"]
    assert full.point is not None
    assert (full.point.images, full.first, full.significant) == (10, True, True)
    assert (
        "is ahead of feature_extraction from 10 training images on, the fewest tried (by 20.0 points" in full.sentence()
    )
    assert "chance" not in full.sentence()


def test_intervals_of_differences_are_those_of_paired_means_for_all_comparisons_at_once() -> None:
    # The mean of n paired differences, by class.
    curve = curve_of({10: (200, 230), 20: (220, 290), 40: (230, 235)})
    comparisons = 1 * 3
    for images, (base, other) in {10: (200, 230), 20: (220, 290), 40: (230, 235)}.items():
        point = next(point for point in curve.of("full") if point.images == images)
        right = (np.arange(IMAGES) < np.array([[base], [other]])).astype(float)
        difference = right[1] - right[0]
        variance = np.mean([difference[label == LABELS].var() for label in (0, 1)])
        reach = float(norm.ppf(1 - (1 - CONFIDENCE) / (2 * comparisons)) * math.sqrt(float(variance) / IMAGES))
        assert point.difference == pytest.approx((other - base) / IMAGES)
        assert point.difference_interval == pytest.approx(
            (difference.mean() - reach, difference.mean() + reach), abs=0.25 * reach
        )


def test_with_all_images_alone_it_says_what_the_verdict_says() -> None:
    finals = [final("feature_extraction", 300, seed, seed) for seed in (0, 7, 9)]
    finals += [final("full", 320, seed, seed) for seed in (0, 5)]
    curve = trace_curve([CurveRecord(100, each) for each in finals], "accuracy", STRATEGIES)
    verdict = reach_verdict(finals, "accuracy")
    leader, behind = verdict.contenders
    (point,) = curve.of("full")
    assert (leader.strategy, behind.strategy) == ("full", "feature_extraction")
    assert point.difference == pytest.approx(behind.gap_to_leader)
    assert behind.interval is not None
    assert point.difference_interval == pytest.approx(behind.interval, abs=0.01)
    assert point.interval == pytest.approx(leader.score_interval, abs=0.01)
    assert point.scores == leader.scores


def test_without_feature_extraction_there_are_points_and_no_crossovers() -> None:
    curve = trace_curve([CurveRecord(10, final("full", 200))], "accuracy", ("full",))
    assert [(point.images, point.mean, point.difference) for point in curve.points] == [(10, 0.5, None)]
    assert curve.crossovers == ()


def test_a_size_that_one_of_both_lacks_is_no_comparison() -> None:
    records = [
        CurveRecord(10, final("full", 390)),
        CurveRecord(20, final("full", 300)),
        CurveRecord(20, final("feature_extraction", 200)),
    ]
    (crossover,) = trace_curve(records, "accuracy", STRATEGIES).crossovers
    assert crossover.point is not None
    assert (crossover.point.images, crossover.first) == (20, True)


def test_other_test_images_are_refused() -> None:
    other = FinalRecord("full", 0, 0, 0.5, 0.5, 1.0, 9, LABELS[:4], one_hot(LABELS[:4], 2))
    with pytest.raises(ValueError, match="not tested on the same images"):
        trace_curve([CurveRecord(10, final("full", 200)), CurveRecord(20, other)], "accuracy", STRATEGIES)
    with pytest.raises(ValueError, match="no trainings"):
        trace_curve([], "accuracy", STRATEGIES)
