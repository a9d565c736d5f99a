"""How likely another strategy is to win: against drawn searches, and what must hold for any scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.search.analysis.sureness import COMMON, SHARED, judge_sureness

LISTS = st.lists(st.integers(20, 99), min_size=2, max_size=9).map(lambda own: [each / 100 for each in own])
ARMS = st.dictionaries(st.sampled_from(["full", "partial", "lp_ft", "scratch"]), LISTS, min_size=2, max_size=4)


def drawn_chance(
    scores: dict[str, list[float]], left: int, images: int, indifference: float, draws: int = 40_000
) -> float:
    """The chance that another than the first strategy wins, from draws of everything that is uncertain, one by one."""
    rng = np.random.default_rng(0)

    def mirrored(own: list[float]) -> float:
        middle = np.median(own)
        upper = [score - middle for score in own if score > middle]
        return float(np.sum(np.square([*upper, *(-each for each in upper)])) / (len(own) - 1))

    weights = [len(own) - 1 for own in scores.values()]
    usual = float(np.average([mirrored(own) for own in scores.values()], weights=weights))

    def draw(own: list[float], further: int) -> np.ndarray:
        best, middle, count = max(own), np.median(own), len(own)
        variance = best * (1 - best) / images
        noise = (1 - COMMON - SHARED) * variance
        freedom = (count - 1) / 2 + 3
        squares = (count - 1) / 2 * mirrored(own) + 3 * max(usual, noise)
        spread = np.maximum(squares / rng.chisquare(freedom, draws), noise)
        error = spread * math.pi / 2 / count
        new = middle + np.sqrt(spread + error)[:, None] * rng.standard_normal((draws, max(further, 1)))
        highest = np.clip(new.max(axis=1) if further else best, best, 1.0)
        lucky = noise / spread
        variance_left = (1 - lucky) * noise + SHARED * variance + lucky**2 * error
        return middle + (1 - lucky) * (highest - middle) + np.sqrt(variance_left) * rng.standard_normal(draws)

    first, *others = scores.values()
    leader = draw(first, 0)
    reached = np.max([draw(own, math.ceil(left / 2)) for own in others], axis=0)
    return float(np.mean(reached > leader + indifference))


@pytest.mark.parametrize("left", [0, 1, 7, 30])
@pytest.mark.parametrize(
    "scores",
    [
        {"full": [0.80, 0.84, 0.86, 0.90], "partial": [0.70, 0.72, 0.78, 0.80]},
        {"full": [0.90, 0.86, 0.85, 0.2], "partial": [0.80, 0.81, 0.85, 0.84, 0.3], "lp_ft": [0.7, 0.75, 0.72]},
        {"full": [0.71, 0.70], "partial": [0.55, 0.65]},
    ],
)
def test_the_chance_is_that_of_drawn_searches(scores: dict[str, list[float]], left: int) -> None:
    said = judge_sureness(scores, dict.fromkeys(scores, left), images=120, indifference=0.01)
    assert said is not None
    assert said.leader == "full"
    assert said.chance == pytest.approx(drawn_chance(scores, left, 120, 0.01), abs=0.015)


@settings(max_examples=60, deadline=None)
@given(ARMS, st.integers(0, 40), st.sampled_from([60, 150, 400]), st.floats(0, 0.05))
def test_chances_are_chances_and_do_not_depend_on_the_order(
    scores: dict[str, list[float]], left: int, images: int, indifference: float
) -> None:
    every = dict.fromkeys(scores, left)
    said = judge_sureness(scores, every, images, indifference)
    assert said is not None
    assert max(scores[said.leader]) == max(max(own) for own in scores.values())
    assert said.chances.keys() == scores.keys() - {said.leader}
    assert max(said.chances.values()) - 1e-9 <= said.chance <= min(1.0, sum(said.chances.values()) + 1e-9)
    assert min(said.chances.values()) >= 0.0
    if sum(max(own) == max(scores[said.leader]) for own in scores.values()) == 1:
        turned = judge_sureness(dict(reversed([*scores.items()])), every, images, indifference)
        assert turned is not None
        assert turned.chance == pytest.approx(said.chance)


@settings(max_examples=60, deadline=None)
@given(ARMS, st.integers(0, 20), st.integers(1, 20))
def test_what_may_still_come_makes_less_sure_and_what_does_not_matter_surer(
    scores: dict[str, list[float]], left: int, more: int
) -> None:
    def chance(left: int, indifference: float = 0.01) -> float:
        said = judge_sureness(scores, dict.fromkeys(scores, left), 150, indifference)
        assert said is not None
        return said.chance

    assert chance(left + 2 * more) >= chance(left) - 1e-9
    assert chance(left, 0.03) <= chance(left, 0.01) + 1e-9


def test_more_images_make_a_lead_surer_and_two_that_are_equal_never_sure() -> None:
    clear = {"full": [0.85, 0.88, 0.90, 0.91], "partial": [0.78, 0.80, 0.81, 0.82]}
    few, many = (judge_sureness(clear, dict.fromkeys(clear, 6), images, 0.01) for images in (30, 2000))
    assert few is not None
    assert many is not None
    assert many.chance < 0.05 < few.chance
    equal = {"full": [0.85, 0.88, 0.90, 0.91], "partial": [0.85, 0.88, 0.90, 0.91]}
    said = judge_sureness(equal, dict.fromkeys(equal, 10), 200, 0.01)
    assert said is not None
    assert said.chance > 0.3


def test_what_ruins_trials_does_not_promise_better_ones() -> None:
    good = [0.78, 0.80, 0.81, 0.82, 0.83]
    said = [
        judge_sureness({"full": [0.9, 0.91, 0.92, 0.93, 0.94], "partial": own}, {"full": 9, "partial": 9}, 400, 0.01)
        for own in (good, [*good[1:], 0.1])
    ]
    assert said[0] is not None
    assert said[1] is not None
    assert max(said[0].chance, said[1].chance) < 0.05


@pytest.mark.parametrize("scores", [{}, {"full": [0.9, 0.8]}, {"full": [0.9, 0.8], "partial": [0.1]}])
def test_too_few_scores_or_strategies_say_nothing(scores: dict[str, list[float]]) -> None:
    assert judge_sureness(scores, dict.fromkeys(scores, 3), 100, 0.01) is None


@pytest.mark.parametrize("best", [0.0, 1.0])
def test_scores_at_the_ends_of_the_scale_are_as_uncertain_as_one_image(best: float) -> None:
    scores = {"full": [best, best, best], "partial": [best, best, best]}
    said = judge_sureness(scores, dict.fromkeys(scores, 5), 100, 0.01)
    assert said is not None
    assert 0.0 <= said.chance < 1.0
