"""How often the verdict claims what is not so, and how often it finds what is: finals with known truth, simulated.

    python benchmarks/verdict_calibration.py --keep                  # about two hours on one core
    python benchmarks/verdict_calibration.py --simulations 200

A final is right or wrong on each test image. How hard an image is for all strategies and for one of them, and how well
a seed did, are normal variables; so the true scores are known. Three questions are asked in each cell of the grid:

- false claims: with equal strategies, how often is one declared behind (nominal 5 %);
- coverage: how often the interval of a single score contains the true one (nominal 95 %);
- power: with one strategy worse by three standard errors of a difference, how often it is declared behind. Beside it
  stands what a test would reach that knows all variances (Tukey's, for as many strategies): more cannot be had.

The columns "before" show the rule up to 2026-11: percentiles of resampled images and seeds, Bonferroni's correction.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.stats
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from frostline.objectives.metrics import Weighted, weighted
from frostline.search.analysis.comparison import CONFIDENCE, central_interval, confidence_set
from frostline.search.analysis.score_draws import bootstrap_scores, draw_scores

Floats = NDArray[np.float64]
SKILL = 0.8
# Standard deviations, in units of the noise of one answer: how hard an image is for all, and for one strategy.
SHARED, OWN = 1.0, 0.5
DRAWS = 1000
GAP = 3.0


@dataclass(frozen=True)
class Cell:
    """Finals to simulate.

    Attributes:
        strategies: Number of strategies, K.
        seeds: Number of seeds of each.
        images: Number of test images.
        spreads: Standard deviation over seeds, points: of all strategies, or one for each.
        metric: Name of the metric.
        classes: Share of the test images of each class.
    """

    strategies: int
    seeds: int
    images: int
    spreads: tuple[float, ...]
    metric: str = "accuracy"
    classes: tuple[float, ...] = (0.25,) * 4


UNEVEN = (0.7, 0.2, 0.1)
GRID = (
    *(Cell(5, 3, 200, (spread,)) for spread in (1.4, 2.7, 5.0)),
    *(Cell(5, 5, 200, (spread,)) for spread in (1.5, 2.9, 5.2)),
    *(Cell(2, seeds, 200, (5.0,)) for seeds in (2, 3, 5, 10)),
    *(Cell(strategies, 3, 30, (2.0,)) for strategies in (2, 5, 12)),
    *(Cell(strategies, 2, 1000, (2.0,)) for strategies in (2, 5, 12)),
    *(Cell(strategies, 10, 1000, (2.0,)) for strategies in (2, 5, 12)),
    *(Cell(strategies, 3, 5000, (1.0,)) for strategies in (2, 5)),
    Cell(5, 3, 200, (5.0, 1.0, 1.0, 1.0, 1.0)),
    Cell(5, 3, 200, (5.0, 5.0, 1.0, 1.0, 1.0)),
    Cell(3, 2, 200, (5.0, 0.5, 0.5)),
    Cell(5, 3, 200, (0.0,)),
    *(
        Cell(strategies, 3, images, (2.0,), metric, UNEVEN)
        for metric in ("balanced_accuracy", "macro_f1")
        for strategies, images in ((2, 100), (5, 400))
    ),
    *(Cell(strategies, 3, images, (2.0,), "auroc", (0.7, 0.3)) for strategies, images in ((2, 100), (5, 400))),
)
QUICK = (GRID[2], GRID[8], GRID[16])


class Finals:
    """Finals of strategies whose true scores are known.

    Args:
        cell: What to simulate.
        gap: By how much the last strategy's share of right answers is smaller.
        rng: Source of randomness.
    """

    def __init__(self, cell: Cell, gap: float, rng: np.random.Generator) -> None:
        self._cell, self._rng = cell, rng
        counts = np.maximum(1, np.round(np.array(cell.classes) * cell.images).astype(int))
        counts[0] += cell.images - counts.sum()
        self.labels = np.repeat(np.arange(len(counts)), counts).astype(np.int64)
        total = np.sqrt(1 + SHARED**2 + OWN**2)
        self._level = scipy.stats.norm.ppf(SKILL - gap * (np.arange(cell.strategies) == cell.strategies - 1)) * total
        # Points of score to units of the noise, where the skill is.
        self._spread = (
            np.resize(cell.spreads, cell.strategies) / 100 * total / scipy.stats.norm.pdf(self._level / total)
        )

    def draw(self) -> list[list[Weighted]]:
        """Return the score of each strategy and seed as a function of the image weights."""
        cell, normal = self._cell, self._rng.normal
        hard = normal(size=cell.images) * SHARED
        found = []
        for level, spread in zip(self._level, self._spread, strict=True):
            shared = level + hard + normal(size=cell.images) * OWN
            seeds = [shared + normal() * spread + normal(size=cell.images) for _ in range(cell.seeds)]
            found.append([weighted(cell.metric, self._probabilities(margin), self.labels) for margin in seeds])
        return found

    def _probabilities(self, margin: Floats) -> Floats:
        """Probabilities (N, C): the true class is the most probable where the margin is above 0."""
        classes = len(self._cell.classes)
        wrong = (self.labels + 1 + self._rng.integers(classes - 1, size=len(margin))) % classes
        right = scipy.stats.norm.cdf(margin)
        probabilities = np.zeros((len(margin), classes))
        rows = np.arange(len(margin))
        probabilities[rows, self.labels] = right
        probabilities[rows, wrong] += 1 - right
        return probabilities


def observed_means(scores: list[list[Weighted]], images: int) -> list[float]:
    ones = np.ones((1, images))
    return [float(np.mean([score(ones) for score in seeds])) for seeds in scores]


# From the score functions and labels to: which strategies are behind, and the interval of each score.
Rule = Callable[[list[list[Weighted]], NDArray[np.int64], int], tuple[list[bool], list[tuple[float, float]]]]


def present_rule(
    scores: list[list[Weighted]], labels: NDArray[np.int64], seed: int
) -> tuple[list[bool], list[tuple[float, float]]]:
    """Decide as :func:`~frostline.search.analysis.comparison.compare` does."""
    drawn = draw_scores(scores, labels, seed=seed, draws=DRAWS)
    order = np.argsort(-drawn.means)
    behind = [False] * len(order)
    for place, (low, _) in zip(order[1:], confidence_set(drawn.means[order], drawn.errors[:, order]), strict=True):
        behind[place] = low > 0
    return behind, [central_interval(each, 1) for each in drawn.scores.T]


def former_rule(
    scores: list[list[Weighted]], labels: NDArray[np.int64], seed: int
) -> tuple[list[bool], list[tuple[float, float]]]:
    """Decide by percentiles of resampled images and seeds."""
    rng = np.random.default_rng(seed)
    means = []
    for each in bootstrap_scores(scores, labels, rng, DRAWS):
        picks = rng.integers(each.shape[1], size=each.shape)
        means.append(np.take_along_axis(each, picks, axis=1).mean(axis=1))
    leader = int(np.argmax(observed_means(scores, len(labels))))
    comparisons = len(means) - 1
    behind = [
        place != leader and central_interval(means[leader] - each, comparisons)[0] > 0
        for place, each in enumerate(means)
    ]
    return behind, [central_interval(each, 1) for each in means]


RULES: dict[str, Rule] = {"now": present_rule, "before": former_rule}


@dataclass
class Outcome:
    """Shares of simulations, of one rule in one cell."""

    false_claims: float
    coverage: float
    power: float


def run(cell: Cell, simulations: int, seed: int = 0) -> tuple[dict[str, Outcome], float]:
    """Simulate a cell.

    Returns:
        The outcome of each rule, and the power of the test that knows the variances.
    """
    rng = np.random.default_rng(seed)
    equal = Finals(cell, 0.0, rng)
    claims = {name: np.zeros(simulations, bool) for name in RULES}
    intervals: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in RULES}
    observed = np.zeros((simulations, cell.strategies))
    for number in range(simulations):
        scores = equal.draw()
        observed[number] = observed_means(scores, cell.images)
        for name, rule in RULES.items():
            behind, of_scores = rule(scores, equal.labels, number)
            claims[name][number] = any(behind)
            intervals[name].append(of_scores)
    # The mean over all simulations is the true score, which metrics other than accuracy have no formula for.
    true = observed.mean(axis=0)
    differences = observed[:, :-1] - observed[:, -1:]
    error = float(differences.std(axis=0).mean())
    worse = Finals(cell, min(GAP * error, SKILL - 0.3), rng)
    found = dict.fromkeys(RULES, 0)
    known = 0
    critical = scipy.stats.studentized_range.ppf(CONFIDENCE, cell.strategies, np.inf) / np.sqrt(2)
    for number in range(simulations):
        scores = worse.draw()
        means = observed_means(scores, cell.images)
        known += (max(means) - means[-1]) / error > critical
        for name, rule in RULES.items():
            found[name] += rule(scores, worse.labels, number)[0][-1]
    outcomes = {}
    for name in RULES:
        low, high = np.array(intervals[name]).transpose(2, 0, 1)
        inside = (low <= true) & (true <= high)
        outcomes[name] = Outcome(float(claims[name].mean()), float(inside.mean()), found[name] / simulations)
    return outcomes, known / simulations


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--simulations", type=int, default=2000, help="of each cell")
    options.set_defaults(data="simulated", backbone="none", weights="none", image_size=1)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("verdict_calibration", "What the verdict claims when the truth is known.", chosen)
    table = report.table(
        f"{arguments.simulations} simulations a cell, %",
        *("metric", "strategies", "seeds", "images", "sd of seeds, points", "false claims now", "before"),
        *("coverage now", "before", "power now", "before", "variances known"),
    )
    for cell in GRID:
        outcomes, known = run(cell, arguments.simulations)
        now, before = outcomes["now"], outcomes["before"]
        pairs = [(now.false_claims, before.false_claims), (now.coverage, before.coverage), (now.power, before.power)]
        table.add(
            *(cell.metric, cell.strategies, cell.seeds, cell.images, ", ".join(map(str, dict.fromkeys(cell.spreads)))),
            *(f"{100 * share:.1f}" for pair in pairs for share in pair),
            f"{100 * known:.0f}",
        )
        print(table.rows[-1], flush=True)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
