"""What more seeds promise: draws of what the finals would say with all of them (preposterior analysis; Raiffa &
Schlaifer, Applied Statistical Decision Theory, 1961)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from .score_draws import ScoreDraws


@dataclass(frozen=True)
class Outlook:
    """What more seeds promise, up to the largest number.

    Attributes:
        decides: Probability that the leader is then ahead of all others beyond chance.
        gain: By how much the true score of the strategy that leads then is higher on average than that of the one that
            leads now (the expected value of sample information).
    """

    decides: float = 0.0
    gain: float = 0.0


def foresee(drawn: ScoreDraws, tied: Sequence[int], seeds: int, most: int, confidence: float) -> Outlook:
    """Foresee what the finals will say with the largest number of seeds.

    More seeds lower two parts of the errors: that of the seeds, and that part of the images' which is due to each
    training's own answers. How much the seeds vary will be known by then, so each draw has the errors of its own
    spread. The strategies are compared as in a confidence set, with the critical values of normal errors (Bonferroni).

    Args:
        drawn: What is known of the scores.
        tied: Positions of the strategies that may be the best, the leader first.
        seeds: Number of their seeds.
        most: Number that they may have in the end.
        confidence: Of the comparison.

    Examples:
        Two strategies, 5 points apart after 2 seeds, whose score varies by 4 points over seeds:

        >>> import numpy as np
        >>> from frostline.search.analysis.outlook import foresee
        >>> from frostline.search.analysis.score_draws import ScoreDraws
        >>> spreads = np.full((10_000, 2), 0.04)
        >>> seeds = np.random.default_rng(0).normal(0, spreads / np.sqrt(2))
        >>> drawn = ScoreDraws(np.array([0.80, 0.75]), np.zeros_like(seeds), seeds, spreads, np.zeros(2))
        >>> [round(foresee(drawn, [0, 1], 2, most, 0.95).decides, 1) for most in (4, 8, 32)]
        [0.4, 0.6, 0.8]
    """
    if most <= seeds or len(tied) == 1:
        return Outlook()
    places = np.asarray(tied)
    # The part of the seeds' errors that further seeds take away.
    part = 1 - seeds / most
    own = drawn.answers[places] * part
    # By how much further seeds change the means: by their spread, and by what each answers of its own.
    noise = np.random.default_rng(0).normal(size=(len(drawn.seeds), len(places)))
    means = drawn.means[places] + drawn.seeds[:, places] * np.sqrt(part) + noise * np.sqrt(own)
    gain = float(means.max(axis=1).mean() - drawn.means[places].max())
    order = np.argsort(-means, axis=1)
    leader, others = order[:, :1], order[:, 1:]
    ahead = np.take_along_axis(means, leader, axis=1) - np.take_along_axis(means, others, axis=1)
    images = drawn.images[:, places]
    of_images = (images[:, :, None] - images[:, None, :]).var(axis=0) - (own[:, None] + own[None, :])
    of_seeds = drawn.spreads[:, places] ** 2 / most
    variances = np.maximum(of_images, 0.0)[leader, others] + np.take_along_axis(of_seeds, leader, axis=1)
    variances += np.take_along_axis(of_seeds, others, axis=1)
    standardized = np.sort(ahead / np.sqrt(np.maximum(variances, np.finfo(float).tiny)), axis=1)
    # The nearest is compared last, when all others have left the set.
    critical = np.array([_critical(number, confidence) for number in range(2, len(places) + 1)])
    return Outlook(float((standardized > critical).all(axis=1).mean()), gain)


def _critical(strategies: int, confidence: float) -> float:
    """Return what no standardized difference of equal strategies exceeds, with normal errors (Bonferroni)."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / (strategies * (strategies - 1)))
