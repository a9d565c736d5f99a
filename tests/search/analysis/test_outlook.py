"""What more seeds promise, against normal errors in closed form and against comparisons of drawn finals."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from frostline.search.analysis.comparison import Look, Outlook, compare_draws, confidence_set
from frostline.search.analysis.outlook import foresee
from frostline.search.analysis.score_draws import ScoreDraws

DRAWS = 200_000


def normal_draws(
    means: list[float], image_error: float, spread: float, residual: float = 0.0, seeds: int = 2, draws: int = DRAWS
) -> ScoreDraws:
    """What is known of strategies whose scores vary alike over seeds; the images' error includes the residual."""
    draw, shape = np.random.default_rng(1), (draws, len(means))
    of_images = draw.normal(0, np.sqrt(image_error**2 + residual**2 / seeds), shape)
    of_seeds = draw.normal(0, spread / np.sqrt(seeds), shape)
    return ScoreDraws(
        np.array(means), of_images, of_seeds, np.full(shape, spread), np.full(len(means), residual**2 / seeds)
    )


@pytest.mark.parametrize("residual", [0.0, 0.02])
@pytest.mark.parametrize("gap", [0.0, 0.01, 0.03])
def test_the_outlook_of_two_is_that_of_normal_errors(gap: float, residual: float) -> None:
    norm = scipy.stats.norm
    drawn = normal_draws([0.8 + gap, 0.8], 0.005, 0.02, residual)
    outlook = compare_draws(drawn, Look(max_seeds=8), seeds=2).outlook
    # Both means move by what six more seeds bring; the errors that are left are those of images and of eight seeds.
    variance = 0.02**2 + residual**2
    change = np.sqrt(2 * variance * (1 / 2 - 1 / 8))
    assert outlook.gain == pytest.approx(change * norm.pdf(gap / change) - gap * norm.cdf(-gap / change), abs=2e-4)
    least = norm.ppf(0.975) * np.sqrt(2 * (0.005**2 + variance / 8))
    decides = norm.sf((least - gap) / change) + norm.cdf((-least - gap) / change)
    assert outlook.decides == pytest.approx(decides, abs=5e-3)


def test_no_more_seeds_or_a_strategy_alone_promise_nothing() -> None:
    drawn = normal_draws([0.9, 0.8, 0.7], 0.005, 0.02, draws=1000)
    assert compare_draws(drawn, Look(max_seeds=2), seeds=2).outlook == Outlook(0.0, 0.0)
    assert foresee(drawn, [0], 2, 8, 0.95) == Outlook(0.0, 0.0)


def test_several_are_told_apart_one_after_another_as_a_confidence_set_does() -> None:
    means, image_error, spread = [0.80, 0.77, 0.765, 0.76], 0.006, 0.02
    foreseen = foresee(normal_draws(means, image_error, spread), range(4), 2, 8, 0.95).decides
    draw, decided = np.random.default_rng(2), 0
    errors = draw.normal(0, np.sqrt(image_error**2 + spread**2 / 8), (10_000, 4))
    for _ in range(1000):
        # The mean of eight seeds, of which two are known.
        later = np.sort(draw.normal(means, spread * np.sqrt(1 / 2 - 1 / 8)))[::-1]
        decided += all(confidence_set(later, errors).behind)
    assert foreseen == pytest.approx(decided / 1000, abs=0.04)
    # All at once, each would have to be ahead by more.
    assert 0.3 < foreseen < 0.9


def test_a_spread_that_is_not_known_yet_will_be() -> None:
    drawn = normal_draws([0.80, 0.76], 0.0, 0.02)
    # Half of the draws have a small spread, half a large one: each half is decided by its own.
    narrow = np.arange(DRAWS) % 2 == 0
    spreads = np.where(narrow[:, None], 0.01, 0.05) * np.ones(2)
    mixed = ScoreDraws(drawn.means, drawn.images, drawn.seeds * spreads / 0.02, spreads, np.zeros(2))
    parts = [normal_draws([0.80, 0.76], 0.0, spread) for spread in (0.01, 0.05)]
    expected = np.mean([foresee(part, [0, 1], 2, 8, 0.95).decides for part in parts])
    assert foresee(mixed, [0, 1], 2, 8, 0.95).decides == pytest.approx(expected, abs=0.01)
