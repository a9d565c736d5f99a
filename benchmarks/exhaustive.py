"""Does the verdict of a usual search agree with what ten times the trials and ten seeds find?

    python benchmarks/exhaustive.py --workspace DIR --keep            # hours on one core; goes on where it stopped
    python benchmarks/exhaustive.py --workspace DIR --seeds 1 --datasets garments_small

Each dataset is searched once exhaustively, with ten times the trials, ten seeds of every finalist and no race, and
several times as usual. A usual verdict is right if it recommends what leads the exhaustive one, or what is tied with it
there, or if it calls the exhaustive leader a tie. The workspace may be that of `repeatability.py`, whose searches are
the same.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import SHARED, Report
from benchmarks.repeatability import Outcome, parser, search

# Of scikit-learn's digits, as many images as garments_small has.
DATASETS = {
    "digits": "sklearn:digits@600",
    "garments_small": str(SHARED / "data/garments_small"),
    "clothing": str(SHARED / "data/clothing"),
}
TRIALS, TIMES, FINALS_SEEDS = 15, 10, 10


def judge(usual: Outcome, exhaustive: Outcome) -> str:
    """Return how a usual verdict relates to the exhaustive one."""
    if usual.recommended == exhaustive.recommended:
        return "the same"
    if usual.recommended in exhaustive.tied:
        return "a tie there"
    return "a tie here" if exhaustive.recommended in usual.tied else "NO"


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=DATASETS)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    report = Report("exhaustive", "Usual verdicts beside those of ten times the trials, with ten seeds.", chosen)
    summary = report.table(
        f"{TRIALS} trials beside {TIMES * TRIALS} with {FINALS_SEEDS} seeds",
        *("dataset", "exhaustive: test %", "trials of a strategy", "leader", "ties with it"),
        *("usual searches", "right", "points below the best"),
    )
    for dataset in arguments.datasets:
        own = replace(chosen, data=DATASETS[dataset])
        most = {"trials": TIMES * TRIALS, "finals_seeds": FINALS_SEEDS, "racing": False}
        exhaustive = search(own, arguments.workspace, f"{dataset}-exhaustive", **most)
        print(dataset, exhaustive, flush=True)
        usual = []
        for seed in range(arguments.seeds):
            usual.append(search(own, arguments.workspace, f"{dataset}-{seed}", trials=TRIALS, seed=seed))
            print(dataset, seed, usual[-1], flush=True)
        each = report.table(f"{dataset}: each usual search", "seed", "recommended", "ties", "right")
        for seed, outcome in enumerate(usual):
            ties = ", ".join(sorted(outcome.tied - {outcome.recommended})) or "none"
            each.add(seed, outcome.recommended, ties, judge(outcome, exhaustive))
        ranked = sorted(exhaustive.scores.items(), key=lambda item: -item[1])
        below = [100 * (ranked[0][1] - exhaustive.scores[outcome.recommended]) for outcome in usual]
        summary.add(
            dataset,
            ", ".join(f"{name} {100 * score:.1f}" for name, score in ranked),
            ", ".join(f"{name} {exhaustive.trials[name]}" for name, _ in ranked),
            exhaustive.recommended,
            ", ".join(sorted(exhaustive.tied - {exhaustive.recommended})) or "none",
            len(usual),
            sum(judge(outcome, exhaustive) != "NO" for outcome in usual),
            harness.spread(below, 2),
        )
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
