"""What more training images would gain: a power law with an offset, fitted to a strategy's data-size curve.

The error falls with the number n of training images as c + a n^-b (Hestness et al. 2017, "Deep Learning Scaling is
Predictable, Empirically"; Rosenfeld et al. 2020, "A Constructive Prediction of the Generalization Error Across
Scales"). Bootstrapped test images and the posterior of the seeds' spread give the covariance of the measured errors.
The interval has the gains of all laws that these do not contradict: the profile likelihood (Venzon & Moolgavkar 1988).
Few points cannot tell b from c, which a single best fit would hide.

Not every curve is a power law, or even monotone (Yan, Mohr & Viering 2025, "LCDB 1.1": about 15 % are not). Where the
points say so, nothing is projected; and never beyond :data:`FARTHEST` times the images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import weighted
from ..records import FinalRecord
from .comparison import CONFIDENCE, UNLIKELY, Interval
from .score_draws import draw_scores
from .seed_spread import Floats

# Multiples of the training images for which a gain is projected.
MULTIPLES = (1.5, 2.0, 4.0)
FARTHEST = MULTIPLES[-1]
# Three parameters need more points than three.
MIN_SIZES = 4
# Points that a power law explains with less than this probability are none.
_MISFIT = 0.01
_DRAWS = 2_000
# A law is accepted if its squared distance exceeds that of the best by less: the 95 % quantile of a chi-squared
# variable of two degrees of freedom, for exponent and offset both stay open; with one, intervals cover 90 to 95 %.
_ACCEPTED = -2 * math.log(1 - CONFIDENCE)
# Grid: exponents, and what is left to gain, in standard errors around the best.
_EXPONENTS = np.geomspace(0.05, 2.0, 150)
_STEPS = np.linspace(-6.0, 6.0, 121)


@dataclass(frozen=True)
class Gain:
    """What a larger number of training images is projected to gain.

    Attributes:
        images: Number of training images, those that are there included.
        gain: Gain of the true mean score over that with the present images, as a share of 1.
        interval: Its confidence interval.
    """

    images: int
    gain: float
    interval: Interval


@dataclass(frozen=True)
class Projection:
    """The projection of one strategy's curve.

    Attributes:
        strategy: Name of the strategy.
        images: Number of training images that are there.
        gains: Gains by :data:`MULTIPLES`; empty if nothing is projected.
        refused: Why nothing is projected; empty if it is.
    """

    strategy: str
    images: int
    gains: tuple[Gain, ...] = ()
    refused: str = ""

    def sentence(self) -> str:
        """Return the projection as a sentence.

        >>> gains = (Gain(600, 0.012, (0.004, 0.02)), Gain(800, 0.02, (0.005, 0.031)), Gain(1600, 0.03, (0.01, 0.05)))
        >>> Projection("full", 400, gains).sentence()
        'About 400 more training images would gain full 2.0 points [0.5, 3.1], and 1,200 more 3.0 [1.0, 5.0].'
        >>> Projection("full", 400, refused="3 sizes are too few").sentence()
        'No gain of more images is projected for full: 3 sizes are too few.'
        """
        if self.refused:
            return f"No gain of more images is projected for {self.strategy}: {self.refused}."
        double, most = self.gains[1:]
        return (
            f"About {double.images - self.images:,} more training images would gain {self.strategy} "
            f"{100 * double.gain:.1f} points {_interval(double)}, and {most.images - self.images:,} more "
            f"{100 * most.gain:.1f} {_interval(most)}."
        )


def project(strategy: str, finals: Sequence[tuple[int, Sequence[FinalRecord]]], metric: str, seed: int) -> Projection:
    """Project what more training images would gain a strategy.

    Args:
        strategy: Name of the strategy.
        finals: Ascending numbers of training images with their trainings, tested on the same images; all training
            images come last.
        metric: Name of a metric that a study can maximize.
        seed: Seed of the draws.
    """
    sizes = np.array([images for images, _ in finals])
    present = int(sizes[-1])
    if len(sizes) < MIN_SIZES:
        few = f"{len(sizes)} sizes are too few (at least {MIN_SIZES}; add some with --sizes)"
        return Projection(strategy, present, refused=few)
    labels = finals[0][1][0].labels
    weighers = [[weighted(metric, final.probabilities, labels) for final in group] for _, group in finals]
    drawn = draw_scores(weighers, labels, seed=seed, draws=_DRAWS)
    if drop := _drop(sizes, drawn.means + drawn.errors):
        return Projection(strategy, present, refused=f"its score falls from {drop[0]:,} to {drop[1]:,} images")
    found = fit_power_law(sizes, 1 - drawn.means, np.cov(drawn.errors.T))
    if found is None:
        return Projection(strategy, present, refused="its scores do not follow a power law")
    gains = tuple(
        Gain(round(multiple * present), middle, (low, high))
        for multiple, (low, middle, high) in zip(MULTIPLES, found, strict=True)
    )
    return Projection(strategy, present, gains)


def fit_power_law(
    sizes: NDArray[np.int64], errors: Floats, covariance: Floats
) -> tuple[tuple[float, float, float], ...] | None:
    """Return the gain at each of :data:`MULTIPLES` of the largest size: low end, likely value and high end.

    Args:
        sizes: Ascending numbers of training images (K,), at least :data:`MIN_SIZES`.
        errors: Measured errors (K,): 1 minus the score.
        covariance: Covariance of their deviations from the true ones (K, K).

    Returns:
        None if no power law explains the errors.

    Examples:
        >>> import numpy as np
        >>> from frostline.search.analysis.projection import fit_power_law
        >>> sizes = np.array([100, 200, 400, 800])
        >>> gains = fit_power_law(sizes, 0.05 + 0.1 * (sizes / 800) ** -0.5, 1e-8 * np.eye(4))
        >>> [round(middle, 3) for _, middle, _ in gains]
        [0.018, 0.029, 0.05]
    """
    laws = _laws(sizes, errors, np.linalg.inv(covariance + 1e-12 * np.eye(len(sizes))).astype(np.float64))
    least = laws.distances.min()
    if _probability_beyond(float(least), len(sizes) - 3) < _MISFIT:
        return None
    weights = laws.spacings * np.exp((least - laws.distances) / 2)
    accepted = laws.distances <= least + _ACCEPTED
    found = []
    for multiple in MULTIPLES:
        gains = laws.falls * (1 - multiple**-laws.exponents)
        found.append((float(gains[accepted].min()), _median(gains, weights), float(gains[accepted].max())))
    return tuple(found)


@dataclass(frozen=True)
class _Laws:
    """Power laws on a grid (M,): the offset of each is the one that fits best.

    Attributes:
        exponents: The exponent b.
        falls: What is left to gain, a n^-b with the present n.
        distances: Squared distance to the measured errors, in their standard errors.
        spacings: Distance to the next law of the same exponent, in the same unit for all.
    """

    exponents: Floats
    falls: Floats
    distances: Floats
    spacings: Floats


def _laws(sizes: NDArray[np.int64], errors: Floats, precision: Floats) -> _Laws:
    """Return laws around the best one of each exponent: with it given, errors are linear in what is left (K,)."""
    ones = np.ones(len(sizes))
    shapes = (sizes / sizes[-1]) ** -_EXPONENTS[:, None]
    centered = shapes - (shapes @ precision @ ones / (ones @ precision @ ones))[:, None]
    information = np.einsum("bi,ij,bj->b", centered, precision, centered)
    best, spacing = centered @ precision @ errors / information, _STEPS[-1] / information**0.5
    # Without an offset, more is left to gain than the best law with one may have.
    falls = np.clip(best[:, None] + _STEPS / information[:, None] ** 0.5, 0, None)
    rest = errors - falls[..., None] * shapes[:, None]
    offsets = np.clip(rest @ precision @ ones / (ones @ precision @ ones), 0, None)
    misses = rest - offsets[..., None]
    distances = np.einsum("...i,ij,...j", misses, precision, misses)
    exponents = np.broadcast_to(_EXPONENTS[:, None], falls.shape)
    spacings = np.broadcast_to(spacing[:, None], falls.shape)
    return _Laws(exponents.ravel(), falls.ravel(), distances.ravel(), spacings.ravel())


def _median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values)
    cumulated = weights[order].cumsum()
    return float(np.interp(0.5, cumulated / cumulated[-1], values[order]))


def _probability_beyond(distance: float, freedom: int) -> float:
    """Return the probability that a chi-squared variable exceeds a distance."""
    # Imported here: only studies with a curve need it.
    from scipy.special import gammaincc

    return float(gammaincc(freedom / 2, distance / 2))


def _drop(sizes: NDArray[np.int64], scores: Floats) -> tuple[int, int] | None:
    """Return two sizes between which the true score, drawn (B, K), falls unless chance deceives; None if none do."""
    for one, other in combinations(range(len(sizes)), 2):
        if (scores[:, other] >= scores[:, one]).mean() < UNLIKELY:
            return int(sizes[one]), int(sizes[other])
    return None


def _interval(gain: Gain) -> str:
    low, high = gain.interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"
