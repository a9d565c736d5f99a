"""The posterior of seeds' spread against numerical integration and limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
from numpy.typing import NDArray

from frostline.search.analysis.seed_spread import SPREADS, draw_spreads, spread_likelihood


def integrated_mean(variance: float, freedom: int) -> float:
    """Mean of the logarithm of one strategy's spread, by quadrature of the model as it is documented."""

    def joint(log_spread: NDArray[np.float64], log_common: float) -> NDArray[np.float64]:
        within = np.diff(scipy.stats.norm.cdf(np.log([0.001, 0.3]), log_common, 0.85))[0]
        prior = scipy.stats.norm.pdf(log_spread, log_common, 0.85) / within
        prior *= scipy.stats.norm.pdf(log_common, np.log(0.025), 0.8)
        spread = np.exp(2 * log_spread)
        return prior * scipy.stats.chi2.pdf(freedom * variance / spread, freedom) / spread

    def moments(log_common: float) -> NDArray[np.float64]:
        """Integrals over the spread: of the density, and of the density times the logarithm."""
        ends = np.log(0.001), np.log(0.3)
        values = [
            scipy.integrate.fixed_quad(lambda one, power=power: one**power * joint(one, log_common), *ends, n=100)[0]
            for power in (0, 1)
        ]
        return np.array(values)

    (total, weighted), _ = scipy.integrate.quad_vec(moments, np.log(0.003), np.log(0.1), epsrel=1e-8)
    return float(weighted / total)


@pytest.mark.parametrize("scores", [[0.80, 0.84, 0.86], [0.7, 0.71], [0.5, 0.52, 0.51, 0.5, 0.55]])
def test_one_strategys_posterior_is_that_of_quadrature(scores: list[float]) -> None:
    drawn = draw_spreads([np.array(scores)], np.zeros(1), 20_000, np.random.default_rng(0))
    expected = integrated_mean(float(np.var(scores, ddof=1)), len(scores) - 1)
    assert np.log(drawn).mean() == pytest.approx(expected, abs=0.06)


def test_many_seeds_leave_their_standard_deviation_less_what_images_explain() -> None:
    scores = np.random.default_rng(0).normal(0.8, 0.05, size=400)
    for residual in (0.0, 0.03**2):
        drawn = draw_spreads([scores], np.array([residual]), 2000, np.random.default_rng(1))
        assert np.median(drawn) == pytest.approx(np.sqrt(scores.var(ddof=1) - residual), rel=0.1)


def test_strategies_inform_each_other_and_one_seed_says_nothing() -> None:
    rng = np.random.default_rng(2)
    two = np.array([0.8, 0.8001])
    steady = [0.8 + 0.005 * rng.normal(size=5) for _ in range(6)]
    alone, among = (
        draw_spreads([two, *others], np.zeros(1 + len(others)), 4000, np.random.default_rng(3))[:, 0]
        for others in ([], steady)
    )
    assert np.quantile(among, 0.95) < 0.5 * np.quantile(alone, 0.95)
    unseen = draw_spreads([np.array([0.8])], np.zeros(1), 4000, np.random.default_rng(3))
    assert np.quantile(unseen, 0.05) < 0.02
    assert np.quantile(unseen, 0.95) > 0.1


def summed_mean(scores: list[list[float]], residual: float = 0.0) -> float:
    """Mean of the logarithm of the first strategy's spread, by sums over a finer grid of the model as documented."""
    spreads, common = np.geomspace(0.001, 0.3, 600), np.geomspace(0.003, 0.1, 300)
    prior = scipy.stats.norm.pdf(np.log(spreads), np.log(common)[:, None], 0.85)
    prior /= prior.sum(axis=1, keepdims=True)
    weight = scipy.stats.norm.pdf(np.log(common), np.log(0.025), 0.8)
    first = np.zeros(0)
    for each in scores:
        freedom, variance = len(each) - 1, np.var(each, ddof=1)
        total = residual + spreads**2
        likelihood = scipy.stats.chi2.pdf(freedom * variance / total, freedom) / total
        weight = weight * (prior @ likelihood)
        first = likelihood if not len(first) else first
    of_first = prior * first
    means = (of_first @ np.log(spreads)) / of_first.sum(axis=1)
    return float(weight @ means / weight.sum())


@pytest.mark.parametrize(
    ("scores", "residual"),
    [
        ([[0.80, 0.84, 0.86]], 0.0),
        ([[0.7, 0.71]], 0.0),
        ([[0.7, 0.71]], 0.0004),
        ([[0.5, 0.52, 0.51, 0.5, 0.55], [0.3, 0.3, 0.301]], 0.0),
        ([[0.5, 0.6], [0.3, 0.45, 0.4], [0.8, 0.9]], 0.001),
    ],
)
def test_the_posterior_is_that_of_a_finer_grid(scores: list[list[float]], residual: float) -> None:
    each = [np.array(seeds) for seeds in scores]
    drawn = draw_spreads(each, np.full(len(each), residual), 4000, np.random.default_rng(0))
    assert drawn.shape == (4000, len(each))
    assert np.log(drawn[:, 0]).mean() == pytest.approx(summed_mean(scores, residual), abs=0.06)
    assert ((drawn > 0.00099) & (drawn < 0.301)).all()


def test_likelihoods_are_those_of_a_chi_squared_variable_at_most_1_and_never_0() -> None:
    scores = np.array([0.80, 0.84, 0.86])
    found = spread_likelihood(scores, 0.0001)
    total = 0.0001 + SPREADS**2
    expected = scipy.stats.chi2.pdf(2 * scores.var(ddof=1) / total, 2) / total
    np.testing.assert_allclose(found, expected / expected.max(), rtol=1e-6)
    assert found.max() == 1.0
    # Spreads of a thousandth are all but impossible here.
    assert spread_likelihood(np.array([0.1, 0.9]), 0.0).min() == 1e-30
    assert (spread_likelihood(scores[:1], 0.0) == np.ones(len(SPREADS))).all()
