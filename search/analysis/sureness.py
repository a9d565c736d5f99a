"""Whether a search may end: how likely it is that another strategy will win, before all of its trials have run.

The leader is the strategy with the best validation score so far. Another one wins if the best configuration that it has
or will find, were it given half of the trials that are left, is better on new images than the leader's present one by
more than what does not matter. Three things are uncertain:

- What further trials find. The better half of a strategy's scores, mirrored at their median, is taken as normal: what
  ruins a trial says nothing of the best one. The posterior of the spread follows the strategy's own scores and those of
  all (a scaled inverse chi-squared prior); the best of m further scores is the largest of m draws: the posterior
  prediction of a maximum (Balef et al. 2025, arXiv 2508.13657).
- How much of a best score is luck. The best of many noisy scores is too high (Cawley & Talbot 2010). A score is drawn
  toward its strategy's median by the share of the spread that is noise.
- What the validation images are worth. A score on n images has a binomial variance. All trials are validated on the
  same images, so a part of it (:data:`COMMON`) is common to all and cancels in a difference, and another
  (:data:`SHARED`) is common to those of a strategy.

The chances are integrated numerically: the same trials give the same answer in every process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Its submodules load when they are first used: readers of a study need none.
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Parts of the variance of a validation score: that which all trials have in common, and that which those of a strategy
# have in common besides. In the recorded trials (benchmarks/recordings/), answers of good trials have a correlation of
# 0.31 to 0.69 between strategies (medians of twelve datasets and backbones), hardly more within one. Less is taken for
# granted here: with 60 to 100 images that prevents most wrong ends, and few right ones (benchmarks/sureness.py).
COMMON, SHARED = 0.1, 0.2
# Weight of all strategies' spread in that of each, in trials.
_PRIOR_TRIALS = 3.0
# Part of the trials that are left that each other strategy is thought to get; several get more than there are. With all
# of them instead, as many simulated searches ended rightly, and later.
_SHARE = 0.5
# Scores that every strategy needs to be judged.
MIN_SCORES = 2


def _probabilities(count: int) -> tuple[Floats, Floats]:
    """Return points in (0, 1) and their weights (Gauss-Legendre), for integrals over a probability."""
    places, weights = np.polynomial.legendre.leggauss(count)
    return (1 + places) / 2, weights / 2


# For the integrals over a score (G,) and a spread (R,).
_SCORES, _SCORE_WEIGHTS = _probabilities(20)
_SPREADS, _SPREAD_WEIGHTS = _probabilities(8)


@dataclass(frozen=True)
class Sureness:
    """How likely it is that another strategy than the present leader will win.

    Attributes:
        leader: Strategy with the best validation score.
        chances: Probability that a strategy will win, by strategy, without the leader.
        chance: Probability that any of them will.
    """

    leader: str
    chances: Mapping[str, float]
    chance: float


@dataclass(frozen=True)
class _Arm:
    """What a strategy's scores tell, for each of the spreads (R,); scores are in [0, 1].

    Attributes:
        best: Highest score.
        center: Median of the scores.
        scale: Standard deviation of a further score (R,).
        kept: Share of a score's distance from the median that is no luck (R,).
        error: Standard deviation of a best configuration's true score, given its validation score (R,).
    """

    best: float
    center: float
    scale: Floats
    kept: Floats
    error: Floats

    def true(self, scores: Floats | float) -> Floats:
        """Return the expected true scores (R, G) of configurations with the highest validation scores (R, G)."""
        return self.center + self.kept[:, None] * (np.asarray(scores) - self.center)

    def reached(self, further: int) -> Floats:
        """Return quantiles (R, G) of the highest score after so many further trials."""
        if further < 1:
            return np.full((len(self.scale), len(_SCORES)), self.best)
        highest = self.center + self.scale[:, None] * scipy.special.ndtri(_SCORES ** (1 / further))
        return np.clip(highest, self.best, max(1.0, self.best))

    def true_now(self) -> Floats:
        """Return quantiles (R * G,) of the true score of the present best configuration."""
        return (self.true(self.best) + self.error[:, None] * scipy.special.ndtri(_SCORES)).ravel()

    def stays_below(self, bars: Floats, further: int) -> Floats:
        """Return the probabilities (Q,) that the best after so many further trials is truly below each of bars (Q,)."""
        reached = self.true(self.reached(further))
        return (
            scipy.special.ndtr((bars[:, None, None] - reached) / self.error[:, None]) @ _SCORE_WEIGHTS @ _SPREAD_WEIGHTS
        )


def judge_sureness(
    scores: Mapping[str, Sequence[float]], left: Mapping[str, int], images: float, indifference: float
) -> Sureness | None:
    """Return how likely another strategy than the leader will win; None if too little is known, or of one strategy.

    Args:
        scores: Validation scores of the trials by strategy, in [0, 1].
        left: Number of further trials that a strategy would have if it got all that are left.
        images: Number of validation images.
        indifference: Difference of the true score that does not matter, in [0, 1].

    Examples:
        >>> from frostline.search.analysis import judge_sureness
        >>> scores = {"full": [0.85, 0.90, 0.91], "partial": [0.58, 0.61, 0.62]}
        >>> sure = judge_sureness(scores, {"full": 10, "partial": 10}, images=200, indifference=0.01)
        >>> sure.leader, sure.chance < 0.05
        ('full', True)
    """
    if len(scores) < 2 or any(len(own) < MIN_SCORES for own in scores.values()):
        return None
    arms = _arms(scores, images)
    leader = max(
        arms, key=lambda name: (arms[name].best, float(_SPREAD_WEIGHTS @ arms[name].true(arms[name].best)[:, 0]))
    )
    bars = arms[leader].true_now() + indifference
    further = {name: math.ceil(_SHARE * number) for name, number in left.items()}
    below = {name: arm.stays_below(bars, further[name]) for name, arm in arms.items() if name != leader}
    together = np.prod([*below.values(), np.ones_like(bars)], axis=0)
    weights = np.outer(_SPREAD_WEIGHTS, _SCORE_WEIGHTS).ravel()
    chances = {name: max(0.0, 1 - float(weights @ each)) for name, each in below.items()}
    return Sureness(leader, chances, max(0.0, 1 - float(weights @ together)))


def _arms(scores: Mapping[str, Sequence[float]], images: float) -> dict[str, _Arm]:
    counts = {name: len(own) for name, own in scores.items()}
    spreads = {name: _upper_variance(own) for name, own in scores.items()}
    usual = sum((counts[name] - 1) * spread for name, spread in spreads.items()) / sum(
        count - 1 for count in counts.values()
    )
    found = {}
    for name, own in scores.items():
        best, count = max(own), counts[name]
        variance = max(best * (1 - best), 1 / images) / images
        noise = (1 - COMMON - SHARED) * variance
        # Half of the scores make the spread.
        freedom = (count - 1) / 2 + _PRIOR_TRIALS
        squares = (count - 1) / 2 * spreads[name] + _PRIOR_TRIALS * max(usual, noise)
        # Scores differ at least by their noise, whatever few of them show.
        spread = np.maximum(squares / scipy.special.chdtri(freedom, _SPREADS), noise)
        kept = 1 - noise / spread
        # The median of n normal values has the variance of one by pi / 2n.
        median = spread * math.pi / 2 / count
        error = np.sqrt(kept * noise + SHARED * variance + (1 - kept) ** 2 * median)
        found[name] = _Arm(best, float(np.median(own)), np.sqrt(spread + median), kept, error)
    return found


def _upper_variance(scores: Sequence[float]) -> float:
    """Return the variance of the scores above the median, mirrored at it."""
    above = np.asarray(scores) - np.median(scores)
    return 2 * float((above[above > 0] ** 2).sum()) / (len(scores) - 1)
