"""Truncate and probe: scores and intervals against hand computations, the choice, what is said, and coverage."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm

from frostline.objectives.cut_probes import CutProbe
from frostline.objectives.metrics import one_hot
from frostline.search.analysis import Truncation, compare_cuts

VAL, TEST = 100, 400
LABELS = np.arange(TEST) % 2


def probabilities(right: np.ndarray) -> np.ndarray:
    labels = np.arange(len(right)) % 2
    return one_hot(np.where(right, labels, 1 - labels), 2)


def first(count: int, number: int) -> np.ndarray:
    return np.arange(count) < number


def truncation_of(cuts: Sequence[tuple[int, np.ndarray]], indifference: float = 0.01) -> Truncation:
    """Cuts by the number of validation images that are right, and which test images are."""
    probes = [
        CutProbe(
            f"unit{place}", 10 * place, 100 * place, 0.001 * place, 0.01 * place,
            probabilities(first(VAL, val)), probabilities(test),
        )
        for place, (val, test) in enumerate(cuts, 1)
    ]  # fmt: skip
    labels = np.arange(VAL) % 2, LABELS
    return compare_cuts(probes, *labels, "accuracy", indifference=indifference, batch=32, device="CPU")


def test_differences_are_paired_and_their_intervals_those_of_a_mean() -> None:
    whole, cut = first(TEST, 340), np.roll(first(TEST, 320), 10)
    found = truncation_of([(50, cut), (90, whole)])
    smaller = found.cuts[0]
    assert (smaller.val_score, smaller.test_score, smaller.difference) == pytest.approx((0.5, 0.8, -0.05))
    each = cut.astype(float) - whole
    # Stratified by class: the variance within classes.
    error = np.sqrt(sum(each[label == LABELS].var(ddof=1) * 200 for label in (0, 1))) / TEST
    reach = norm.ppf(0.975) * error
    assert smaller.difference_interval == pytest.approx((-0.05 - reach, -0.05 + reach), abs=0.002)
    assert smaller.likely_behind == pytest.approx(0.05 + norm.ppf(0.9) * error, abs=0.002)
    single = np.sqrt(0.8 * 0.2 / TEST) * norm.ppf(0.975)
    assert smaller.interval == pytest.approx((0.8 - single, 0.8 + single), abs=0.004)
    assert (found.whole.difference, found.whole.difference_interval) == (0.0, (0.0, 0.0))
    assert found.ratios(smaller) == (0.5, 0.5)


def test_the_smallest_that_is_as_good_on_validation_images_is_chosen_whatever_the_test_images_say() -> None:
    better, worse = first(TEST, 390), first(TEST, 100)
    chosen = truncation_of([(80, better), (89, worse), (90, better), (90, first(TEST, 300))]).chosen
    assert chosen is not None
    assert chosen.units == 2
    chosen = truncation_of([(80, better), (89, worse), (90, better), (90, first(TEST, 300))], indifference=0.0).chosen
    assert chosen is not None
    assert chosen.units == 3
    assert truncation_of([(80, better), (88, better), (90, worse)]).chosen is None


def test_where_validation_images_choose_badly_the_test_images_may_prove_a_smaller_one() -> None:
    whole, better = first(TEST, 320), first(TEST, 380)
    found = truncation_of([(60, first(TEST, 100)), (70, better), (80, better), (90, whole)])
    assert found.chosen is None
    assert found.smaller is found.proven is found.cuts[1]
    assert found.confirmed
    # Bonferroni for the three cuts.
    each = better.astype(float) - whole
    error = np.sqrt(sum(each[label == LABELS].var(ddof=1) * 200 for label in (0, 1))) / TEST
    reach = norm.ppf(1 - 0.025 / 3) * error
    assert found.cuts[1].joint_interval == pytest.approx((0.15 - reach, 0.15 + reach), abs=0.004)
    low, high = (100 * bound for bound in found.cuts[1].joint_interval)
    assert found.sentence() == (
        f"With a linear head, the first 2 of 4 units are better than all (+15.0 points [+{low:.1f}, +{high:.1f}] on "
        "the test images, for all cuts at once), at 0.5x the latency and 0.5x the size."
    )
    # One that is confirmed stays, and so does one that nothing is proven against.
    found = truncation_of([(60, better), (90, whole), (90, whole)])
    assert found.smaller is found.chosen is found.cuts[1]
    found = truncation_of([(60, first(TEST, 100)), (90, np.roll(whole, 40)), (90, whole)])
    assert found.smaller is found.chosen is found.cuts[1]
    assert not found.confirmed


def test_what_is_said_is_what_the_test_images_show() -> None:
    whole = first(TEST, 320)

    def said(test: np.ndarray, val: int = 90) -> tuple[str, bool]:
        found = truncation_of([(10, first(TEST, 100)), (val, test), (90, whole)])
        return found.sentence(), found.confirmed

    assert said(whole) == (
        "With a linear head, the first 2 of 3 units are as good as all (0.0 points [0.0, 0.0] on the test images), "
        "at 0.67x the latency and 0.67x the size.",
        True,
    )
    sentence, confirmed = said(first(TEST, 380))
    assert "units are better than all (+15.0 points [+" in sentence
    assert confirmed
    sentence, confirmed = said(first(TEST, 280))
    assert sentence.startswith("No smaller network is named: the first 2 of 3 units are as good as all on the validat")
    assert "not on the test images (−10.0 points [−" in sentence
    assert truncation_of([(10, first(TEST, 100)), (90, first(TEST, 280)), (90, whole)]).smaller is None
    assert not confirmed
    # Right on others: as many, but a few points could be hidden.
    sentence, confirmed = said(np.roll(whole, 40))
    assert "; 400 test images cannot tell (0.0 points [−" in sentence
    assert not confirmed
    found = truncation_of([(10, first(TEST, 100)), (90, first(TEST, 340)), (95, first(TEST, 380)), (90, whole)])
    assert (found.best.units, found.smaller and found.smaller.units) == (3, 2)
    assert " On the validation images, the first 3 units are the best (+15.0 points [+" in found.sentence()
    sentence, confirmed = said(first(TEST, 300), val=80)
    assert sentence.startswith("No smaller network is as good: on the validation images, a linear head on fewer than ")
    assert sentence.endswith("always loses more than 1 point.")
    assert not confirmed


def test_it_survives_the_database() -> None:
    found = truncation_of([(80, first(TEST, 310)), (90, first(TEST, 320))])
    assert Truncation.from_row(json.loads(json.dumps(found.to_row()))) == found


@pytest.mark.slow
def test_the_interval_of_the_chosen_cut_covers_its_true_difference() -> None:
    """Chosen on validation images, it needs no correction on test images: 120 simulations with known difficulty."""
    rng, covered, chosen = np.random.default_rng(0), 0, 0
    for _ in range(120):
        # Eight cuts, ever better; images of one difficulty are right or wrong together.
        skills = 0.9 - 0.03 * rng.random(8).cumsum()[::-1]
        val, test = (skills[:, None] + rng.normal(0, 0.25, (1, n)) + rng.normal(0, 0.1, (8, n)) for n in (VAL, 200))
        probes = [
            CutProbe("u", 1, place + 1, 1.0, 1.0, probabilities(val[place] > 0.6), probabilities(test[place] > 0.6))
            for place in range(8)
        ]
        found = compare_cuts(
            probes, np.arange(VAL) % 2, np.arange(200) % 2, "accuracy", indifference=0.01, batch=32, device=""
        )
        if found.chosen is not None:
            # The score is the probability that skill plus both deviations exceed 0.6.
            true = norm.cdf((skills[found.chosen.units - 1] - 0.6) / np.hypot(0.25, 0.1))
            true -= norm.cdf((skills[-1] - 0.6) / np.hypot(0.25, 0.1))
            low, high = found.chosen.difference_interval
            chosen += 1
            covered += low <= true <= high
    assert chosen > 60
    assert 0.9 <= covered / chosen <= 0.995
