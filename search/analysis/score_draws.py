"""The true mean scores of strategies, as far as their finals tell: draws that carry all uncertainty.

A true mean is that over all images of the kind of the test images, and over all seeds. What the test images leave open
is told by a paired bootstrap (Efron & Tibshirani 1993): images are resampled, stratified by class (small classes
together), the same for all strategies. Image weights, the number of times each image was drawn, give the resampled
metric. What the seeds leave open is added from the posterior of their spread. Resampling the seeds as well, as images
are, would be wrong by a factor: S seeds resampled have (S - 1) / S of the variance, and a few of them do not know it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ...objectives.metrics import Weighted
from ...objectives.user_metrics import is_users
from .seed_spread import Floats, draw_spreads

DRAWS = 10_000
# A metric of the user's is called once for each draw and final; interval ends then vary by 2 % of the width.
_FEWER_DRAWS = 2_000
# Classes with fewer test images are resampled together: alone, a class of one image would show no variance.
MIN_STRATUM = 5
_CHUNK = 500


@dataclass(frozen=True)
class ScoreDraws:
    """Draws of the true mean scores of K strategies, and their parts.

    Attributes:
        means: Observed mean scores (K,).
        images: Deviations (B, K) that new test images would make.
        seeds: Deviations (B, K) that new seeds would make.
        spreads: Standard deviations (B, K) of a score over seeds.
        answers: Variances (K,) of the means that are due to each training's own answers: a part of the images'
            deviations, which more seeds lower, too.
        earlier_seeds: The same when only the first seeds had been trained, by the number of seeds.
    """

    means: Floats
    images: Floats
    seeds: Floats
    spreads: Floats
    answers: Floats
    earlier_seeds: Mapping[int, Floats] = field(default_factory=dict)

    @property
    def errors(self) -> Floats:
        """Return the deviations (B, K) of the true means from the observed ones."""
        return self.images + self.seeds

    def earlier_errors(self, seeds: int) -> Floats:
        """Return the deviations (B, K) when only the first seeds had been trained."""
        return self.images + self.earlier_seeds[seeds]

    @property
    def scores(self) -> Floats:
        """Return the true means (B, K), in [0, 1]."""
        return np.clip(self.means + self.errors, 0.0, 1.0)


def draws_of(metric: str) -> int:
    """Return how many draws an analysis takes.

    >>> from frostline.search.analysis.score_draws import draws_of
    >>> draws_of("accuracy"), draws_of("my_metrics:top_two")
    (10000, 2000)
    """
    return _FEWER_DRAWS if is_users(metric) else DRAWS


def draw_scores(
    strategies: Sequence[Sequence[Weighted]],
    labels: NDArray[np.int64],
    *,
    seed: int,
    draws: int = DRAWS,
    earlier: Sequence[int] = (),
) -> ScoreDraws:
    """Draw the true mean scores of strategies.

    Args:
        strategies: By strategy and seed, the score as a function of the image weights.
        labels: Classes of the images (N,); resampling keeps the size of each class, except small classes.
        seed: Seed of the draws.
        draws: Number of draws, B.
        earlier: Ascending numbers of seeds for which :attr:`ScoreDraws.earlier_seeds` is drawn too.
    """
    rng = np.random.default_rng(seed)
    observed = [np.concatenate([score(np.ones((1, len(labels)))) for score in seeds]) for seeds in strategies]
    replicates = bootstrap_scores(strategies, labels, rng, draws)
    strata = _strata(labels)
    # A resampled stratum of n images has (n - 1) / n of the variance.
    enlarged = len(labels) / max(1, len(labels) - len(strata))
    tails = np.sqrt(enlarged * max(1, len(labels) - 1) / rng.chisquare(max(1, len(labels) - 1), size=(draws, 1)))
    means = np.array([scores.mean() for scores in observed])
    images = tails * (np.stack([each.mean(axis=1) for each in replicates], axis=1) - means)
    residuals = enlarged * np.array([_residual(each) for each in replicates])
    counts = np.array([len(scores) for scores in observed])
    spreads = draw_spreads(observed, residuals, draws, rng)
    *before, now = _mean_deviations(spreads, [np.minimum(counts, number) for number in earlier] + [counts], rng)
    earlier_seeds = dict(zip(earlier, before, strict=True))
    return ScoreDraws(means, images, now, spreads, residuals / counts, earlier_seeds)


def _mean_deviations(spreads: Floats, counts: Sequence[NDArray[np.int64]], rng: np.random.Generator) -> list[Floats]:
    """Draw the deviations (B, K) of the mean over the first seeds, for ascending numbers of seeds (K,)."""
    total, found = np.zeros_like(spreads), []
    for before, count in pairwise([np.zeros_like(counts[0]), *counts]):
        total = total + np.sqrt(count - before) * spreads * rng.normal(size=spreads.shape)
        found.append(total / count)
    return found


def bootstrap_scores(
    strategies: Sequence[Sequence[Weighted]], labels: NDArray[np.int64], rng: np.random.Generator, replicates: int
) -> list[Floats]:
    """Resample the scores of each strategy's seeds; all get the same resampled images (paired).

    Returns:
        Scores (B, S) of each strategy.
    """
    chunks = [min(_CHUNK, replicates - start) for start in range(0, replicates, _CHUNK)]
    drawn: list[list[Floats]] = [[] for _ in strategies]
    for size in chunks:
        counts = _resample(labels, size, rng)
        for scores, seeds in zip(drawn, strategies, strict=True):
            scores.append(np.stack([score(counts) for score in seeds], axis=1))
    return [np.concatenate(scores) for scores in drawn]


def _residual(replicates: Floats) -> float:
    """Return the variance between seeds that is due to the test images alone, from resampled scores (B, S)."""
    seeds = replicates.shape[1]
    if seeds == 1:
        return 0.0
    return float((replicates - replicates.mean(axis=1, keepdims=True)).var(axis=0).mean() * seeds / (seeds - 1))


def _resample(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> Floats:
    """Return how often each image is drawn (B, N), with replacement within its stratum."""
    # The draws of an image are contiguous in memory, which the metrics need.
    counts = np.zeros((len(labels), size)).T
    for members in _strata(labels):
        counts[:, members] = _multinomial(len(members), size, rng)
    return counts


def _multinomial(images: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each of n images is drawn in n draws (B, n): counting is faster than NumPy's multinomial."""
    picks = rng.integers(images, size=(size, images))
    rows = images * np.arange(size)[:, None]
    return np.bincount((rows + picks).ravel(), minlength=size * images).reshape(size, images)


def _strata(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the positions of each class; small classes are merged with larger ones until they are large enough."""
    classes = sorted((np.flatnonzero(labels == label) for label in np.unique(labels)), key=len)
    together = classes.pop(0)
    while classes and (len(classes[0]) < MIN_STRATUM or len(together) < MIN_STRATUM):
        together = np.concatenate([together, classes.pop(0)])
    return [together, *classes]
