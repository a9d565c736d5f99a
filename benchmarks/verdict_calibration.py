"""How often the verdict claims what is not so, and how often it finds what is: finals with known truth, simulated.

    python benchmarks/verdict_calibration.py --keep                  # about an hour and a half on one core
    python benchmarks/verdict_calibration.py --outcomes FILE --keep  # goes on after the cells in the file
    python benchmarks/verdict_calibration.py --simulations 200

A final is right or wrong on each test image. How hard an image is for all strategies and for one of them, and how well
a seed did, are normal variables; so the true scores are known. Three questions are asked in each cell of the grid:

- false claims: with equal strategies, how often is one declared behind (nominal 5 %);
- coverage: how often the interval of a single score contains the true one (nominal 95 %);
- power: with one strategy worse by three standard errors of a difference, how often it is declared behind; and with one
  strategy better than the others by as much, what share of them is. Beside it stands what a test would reach that
  knows all variances (Tukey's, for as many strategies). The race trains further seeds to find the best strategy, not
  to tell a worse one from several that tie: so the second is what it can be asked for.

Each is asked of three rules: the verdict on all seeds; the race, which trains further seeds only where they are needed;
and, as "before", the rule up to 2026-11: percentiles of resampled images and seeds, Bonferroni's correction.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import scipy.stats
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.simulated_finals import SKILL, Cell, Finals, Floats
from frostline.objectives.metrics import Weighted, weighted
from frostline.search.analysis import RaceRules, comparison, run_race, score_draws
from frostline.search.analysis.comparison import CONFIDENCE, Comparison, Look, Ranked, central_interval, compare
from frostline.search.analysis.score_draws import bootstrap_scores
from frostline.search.records import FinalRecord

DRAWS = 1000
GAP = 3.0
UNEVEN = (0.7, 0.2, 0.1)
GRID = (
    *(Cell(5, 3, 200, (spread,)) for spread in (1.4, 2.7, 5.0)),
    *(Cell(5, 5, 200, (spread,)) for spread in (1.5, 2.9, 5.2)),
    *(Cell(2, seeds, 200, (5.0,)) for seeds in (2, 3, 5, 10)),
    *(Cell(5, 8, 200, (spread,)) for spread in (1.0, 2.0, 5.0)),
    Cell(5, 8, 1000, (2.0,)),
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
QUICK = (Cell(5, 3, 200, (5.0,)), Cell(2, 5, 200, (5.0,)), Cell(5, 8, 200, (2.0,)))


class Decision(NamedTuple):
    """What a rule makes of finals.

    Attributes:
        behind: Names of the strategies that are declared behind.
        intervals: Interval of each strategy's mean score, by name.
        trainings: Number of finals that were used.
    """

    behind: set[str]
    intervals: dict[str, tuple[float, float]]
    trainings: int


# From all finals that there could be, the cell and the seed of the draws.
Rule = Callable[[list[FinalRecord], Cell, int], Decision]


@contextmanager
def resampled_once() -> Iterator[None]:
    """Resample images, and the score of each final, once: all rules and looks begin with the same seed."""
    draw, known = score_draws._resample, dict[tuple[int, int, str], tuple[Floats, Any]]()
    weigh, scores = weighted, dict[tuple[int, int], Floats]()

    def resample(labels: NDArray[np.int64], size: int, rng: np.random.Generator) -> Floats:
        key = len(labels), size, str(rng.bit_generator.state)
        if key not in known:
            known[key] = draw(labels, size, rng), rng.bit_generator.state
        counts, rng.bit_generator.state = known[key]
        return counts

    def weigh_once(metric: str, probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Weighted:
        weigher = weigh(metric, probabilities, labels)

        def value(weights: Floats) -> Floats:
            # The arrays that are kept live as long as the block: nothing else has their ids.
            if not any(weights is counts for counts, _ in known.values()):
                return weigher(weights)
            key = id(probabilities), id(weights)
            if key not in scores:
                scores[key] = weigher(weights)
            return scores[key]

        return value

    with (
        mock.patch.object(score_draws, "_resample", resample),
        mock.patch.object(comparison, "weighted", weigh_once),
        mock.patch(f"{__name__}.weighted", weigh_once),
    ):
        yield


def decide(finals: list[FinalRecord], cell: Cell, seed: int) -> dict[str, Decision]:
    """Decide by each rule."""
    with resampled_once():
        return {name: rule(finals, cell, seed) for name, rule in RULES.items()}


def all_seeds(finals: list[FinalRecord], cell: Cell, seed: int) -> Decision:
    """Decide by the verdict on all seeds."""
    return decide_race(finals, cell, RaceRules(cell.seeds, racing=False), seed)


def racing(finals: list[FinalRecord], cell: Cell, seed: int) -> Decision:
    """Decide by the race, in which seeds are trained as they are needed."""
    return decide_race(finals, cell, RaceRules(cell.seeds), seed)


def decide_race(finals: list[FinalRecord], cell: Cell, rules: RaceRules, seed: int) -> Decision:
    made: dict[Look, Comparison] = {}

    def comparing(ranked: Ranked, metric: str, seed: int, look: Look) -> Comparison:
        if look not in made:
            made[look] = compare(ranked, metric, seed, look, draws=DRAWS)
        return made[look]

    trained: dict[str, int] = dict.fromkeys(cell.names, 0)
    while True:
        known = [final for final in finals if final.seed < trained[final.strategy]]
        race = run_race(known, cell.names, cell.metric, rules, seed=seed, comparing=comparing)
        if race.verdict is not None:
            break
        trained |= race.needed
    contenders = race.verdict.contenders
    return Decision(
        {contender.strategy for contender in contenders if not contender.tied},
        {contender.strategy: contender.score_interval for contender in contenders},
        len(known),
    )


def former_rule(finals: list[FinalRecord], cell: Cell, seed: int) -> Decision:
    """Decide by percentiles of resampled images and seeds."""
    rng = np.random.default_rng(seed)
    labels = finals[0].labels
    of = {name: [final for final in finals if final.strategy == name] for name in cell.names}
    scores = [[weighted(cell.metric, final.probabilities, labels) for final in of[name]] for name in cell.names]
    means = {}
    for name, each in zip(cell.names, bootstrap_scores(scores, labels, rng, DRAWS), strict=True):
        picks = rng.integers(each.shape[1], size=each.shape)
        means[name] = np.take_along_axis(each, picks, axis=1).mean(axis=1)
    observed = observed_means(finals, cell)
    leader = max(cell.names, key=lambda name: observed[name])
    comparisons = len(means) - 1
    behind = {
        name
        for name in cell.names
        if name != leader and central_interval(means[leader] - means[name], comparisons)[0] > 0
    }
    return Decision(behind, {name: central_interval(each, 1) for name, each in means.items()}, len(finals))


def observed_means(finals: list[FinalRecord], cell: Cell) -> dict[str, float]:
    """Return the mean score of each strategy."""
    return {
        name: float(np.mean([final.test_score for final in finals if final.strategy == name])) for name in cell.names
    }


RULES: dict[str, Rule] = {"all seeds": all_seeds, "race": racing, "before": former_rule}


@dataclass
class Outcome:
    """Shares of simulations, of one rule in one cell.

    Attributes:
        false_claims: With equal strategies, some are declared behind.
        coverage: Of the intervals of single scores, those that contain the true one.
        worse: A strategy that is worse than the others is declared behind.
        others: Of the others than a strategy that is better, those that are declared behind.
        trainings: Finals, of all that there could be.
    """

    false_claims: float
    coverage: float
    worse: float
    others: float
    trainings: float


KNOWN = "variances known"


def run(cell: Cell, simulations: int, seed: int = 0) -> dict[str, Outcome]:
    """Simulate a cell; return the outcome of each rule, and the powers of the test that knows the variances."""
    rng = np.random.default_rng(seed)
    equal, means = _decide_all(Finals(cell, 0.0, rng), cell, simulations)
    # The mean over all simulations is the true score, which metrics other than accuracy have no formula for.
    true = means.mean(axis=0)
    error = float((means[:, :-1] - means[:, -1:]).std(axis=0).mean())
    gap, last = min(GAP * error, SKILL - 0.3), np.arange(cell.strategies) == cell.strategies - 1
    worse, worse_means = _decide_all(Finals(cell, gap * last, rng), cell, simulations)
    better, better_means = _decide_all(Finals(cell, gap * ~last, rng), cell, simulations)
    worst = best = cell.names[-1]
    outcomes = {}
    for name in RULES:
        intervals = np.array([[decision.intervals[each] for each in cell.names] for decision in equal[name]])
        low, high = intervals.transpose(2, 0, 1)
        outcomes[name] = Outcome(
            float(np.mean([bool(decision.behind) for decision in equal[name]])),
            float(((low <= true) & (true <= high)).mean()),
            float(np.mean([worst in decision.behind for decision in worse[name]])),
            float(
                np.mean([best not in each.behind and len(each.behind) / (cell.strategies - 1) for each in better[name]])
            ),
            float(np.mean([each.trainings for each in (*equal[name], *worse[name], *better[name])]))
            / (cell.strategies * cell.seeds),
        )
    critical = scipy.stats.studentized_range.ppf(CONFIDENCE, cell.strategies, np.inf) / np.sqrt(2) * error
    outcomes[KNOWN] = Outcome(
        float(np.mean(np.ptp(means, axis=1) > critical)),
        np.nan,
        float(np.mean(worse_means.max(axis=1) - worse_means[:, -1] > critical)),
        float(np.mean(better_means[:, -1:] - better_means[:, :-1] > critical)),
        1.0,
    )
    return outcomes


def _decide_all(simulated: Finals, cell: Cell, simulations: int) -> tuple[dict[str, list[Decision]], Floats]:
    """Return what each rule decides in each simulation, and the observed means (M, K)."""
    decisions: dict[str, list[Decision]] = {name: [] for name in RULES}
    means = []
    for number in range(simulations):
        finals = simulated.draw()
        means.append(list(observed_means(finals, cell).values()))
        for name, decision in decide(finals, cell, number).items():
            decisions[name].append(decision)
    return decisions, np.array(means)


def run_or_read(cell: Cell, simulations: int, path: Path | None) -> dict[str, Outcome]:
    """Simulate a cell, unless the file has its outcomes already."""
    name = f"{cell}, {simulations}"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path is not None and path.exists() else []
    known = {line["cell"]: line["outcomes"] for line in lines}
    if name in known:
        return {rule: Outcome(**each) for rule, each in known[name].items()}
    outcomes = run(cell, simulations)
    if path is not None:
        with path.open("a") as file:
            kept = {rule: asdict(each) for rule, each in outcomes.items()}
            file.write(json.dumps({"cell": name, "outcomes": kept}) + "\n")
    return outcomes


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--simulations", type=int, default=2000, help="of each cell")
    options.add_argument(
        "--outcomes", type=Path, metavar="FILE", help="where outcomes are kept; these are not run again"
    )
    options.set_defaults(data="simulated", backbone="none", weights="none", image_size=1)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("verdict_calibration", "What the verdict claims when the truth is known.", chosen)
    given = ("metric", "strategies", "seeds", "images", "sd of seeds, points")
    claims = report.table(
        f"{arguments.simulations} simulations a cell, %",
        *given,
        *(f"{what}: {rule}" for what in ("false claims", "coverage") for rule in RULES),
        "trainings of the race",
    )
    powers = report.table(
        "Power at a gap of three standard errors, %",
        *given,
        *(f"{what}: {rule}" for what in ("one worse", "one better") for rule in (*RULES, KNOWN)),
    )
    for cell in GRID:
        outcomes = run_or_read(cell, arguments.simulations, arguments.outcomes)
        each = [outcomes[name] for name in RULES]
        spreads = ", ".join(map(str, dict.fromkeys(cell.spreads)))
        names = (cell.metric, cell.strategies, cell.seeds, cell.images, spreads)
        shares = [*(one.false_claims for one in each), *(one.coverage for one in each), outcomes["race"].trainings]
        claims.add(*names, *(f"{100 * share:.1f}" for share in shares))
        found = [*(one.worse for one in outcomes.values()), *(one.others for one in outcomes.values())]
        powers.add(*names, *(f"{100 * share:.1f}" for share in found))
        print(claims.rows[-1], powers.rows[-1][len(given) :], flush=True)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
