"""How much a strategy's score varies with the seed of its training, as seen in a few seeds of several strategies.

Two to ten seeds say little of a standard deviation, so the strategies inform each other: a hierarchical model, in which
the logarithms of their standard deviations are normal around a common value. Its posterior is computed on a grid
(Gelman et al., Bayesian Data Analysis, 3rd edition, chapter 5). What is thought likely beforehand follows recorded
trainings (`benchmarks/seed_spread.py`): there the root mean square of the standard deviation is 3 to 6 points, by
strategy, and many configurations vary less than the images can tell. The prior lies higher, since other data may be
unlike these; `benchmarks/verdict_calibration.py` shows what rules this makes of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Standard deviations of a strategy and the values that they have in common, as shares of 1.
SPREADS = np.geomspace(0.001, 0.3, 48)
COMMON = np.geomspace(0.003, 0.1, 24)
# Standard deviation of a strategy's logarithm around the common one.
UNLIKENESS = 0.85
# Prior of the common value: the median, and the standard deviation of the logarithm.
MEDIAN, WIDTH = 0.025, 0.8


def draw_spreads(scores: Sequence[Floats], residuals: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """Draw the standard deviations over seeds of several strategies from their posterior.

    Args:
        scores: Scores of the seeds of each strategy (S,), on the same test images; one seed says nothing.
        residuals: Variance of a strategy's scores (K,) that is left if seeds do not differ on new test images.
        draws: Number of draws, B.
        rng: Source of randomness.

    Returns:
        Standard deviations (B, K), as shares of 1.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis.seed_spread import draw_spreads
        >>> seeds = [np.array([0.80, 0.86, 0.74, 0.83]), np.array([0.700, 0.701, 0.699, 0.700])]
        >>> spreads = draw_spreads(seeds, np.zeros(2), 1000, np.random.default_rng(0))
        >>> spreads.shape, [round(float(each), 2) for each in np.median(spreads, axis=0)]
        ((1000, 2), [0.04, 0.0])
    """
    likelihood = np.stack([spread_likelihood(each, residual) for each, residual in zip(scores, residuals, strict=True)])
    prior = log_normal(SPREADS, COMMON[:, None], UNLIKENESS)
    common = log_normal(COMMON, MEDIAN, WIDTH) * np.exp(np.log(prior @ likelihood.T).sum(axis=1))
    chosen = rng.choice(len(COMMON), size=draws, p=common / common.sum())
    spreads = np.empty((draws, len(scores)))
    for strategy, of_strategy in enumerate(likelihood):
        cumulated = (prior * of_strategy).cumsum(axis=1)
        cumulated /= cumulated[:, -1:]
        place = (rng.random((draws, 1)) > cumulated[chosen]).sum(axis=1)
        spreads[:, strategy] = SPREADS[np.minimum(place, len(SPREADS) - 1)]
    return spreads


def log_normal(values: Floats, median: Floats | float, width: float) -> Floats:
    """Return the probabilities (..., M) of values (M,), whose logarithms are normal, on a grid that is even in them.

    >>> import numpy as np
    >>> from frostline.search.analysis.seed_spread import log_normal
    >>> log_normal(np.array([0.01, 0.02, 0.04]), 0.02, 0.5).round(2).tolist()
    [0.22, 0.57, 0.22]
    """
    weights = np.exp(-0.5 * (np.log(values / median) / width) ** 2)
    return weights / weights.sum(axis=-1, keepdims=True)


def spread_likelihood(scores: Floats, residual: float) -> Floats:
    """Return the likelihood of the scores' variance under each of :data:`SPREADS`, at most 1: a chi-squared variable's.

    Args:
        scores: Scores of the seeds of a strategy (S,), on the same test images.
        residual: Variance of the scores that is left if seeds do not differ on new test images.
    """
    freedom = len(scores) - 1
    if freedom == 0:
        return np.ones(len(SPREADS))
    variances = residual + SPREADS**2
    logarithm = -0.5 * freedom * (np.log(variances) + scores.var(ddof=1) / variances)
    # No spread is impossible: products of several strategies stay above 0.
    return np.maximum(np.exp(logarithm - logarithm.max()), 1e-30)
