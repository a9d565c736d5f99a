"""What the finals cost, and what they recommend, beside an older commit.

    python benchmarks/finals_older.py OLDER --workspace DIR --keep    # OLDER: a checkout of 08a8997 with its own .venv

Both sides run the same search with the same seeds, each in a process of its own checkout, in turns; one that is
finished is read. The seconds of a final are those of its training.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness, repeatability
from benchmarks.harness import SHARED, Report, Setting, at_most
from benchmarks.repeatability import DATASETS

HERE = Path(__file__).parents[1]
TARGET = at_most(0.5)
# Runs a search and prints what it came to; the names of modules are those of either commit.
SIDE = """
import json, sys
from pathlib import Path
try:
    from frostline.search.execution import run_search
    from frostline.search.study import LineProgress, Request
except ImportError:
    from frostline.search.planning import Request
    from frostline.search.progress import LineProgress
    from frostline.search.run import run_search
from frostline.storage.workspace import Workspace
import torch
folder, threads, fields = Path(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
if threads:
    torch.set_num_threads(threads)
results = run_search(Request(**fields), Workspace(folder), LineProgress(lambda line: None)).results()
verdict = results.verdict
finals = (*results.finals, *getattr(results, "candidate_finals", ()))
print("RESULT", json.dumps({
    "recommended": verdict.winner.strategy,
    "scores": {each.strategy: each.mean for each in verdict.contenders},
    "finals": len(finals),
    "seconds": sum(each.seconds for each in finals),
    "search_seconds": sum(each.seconds or 0.0 for each in results.trials),
    "of_strategies": {
        each.strategy: sum(final.seconds for final in finals if final.strategy == each.strategy)
        for each in verdict.contenders
    },
}))
"""


@dataclass(frozen=True)
class Finals:
    """What the finals of one search came to.

    Attributes:
        recommended: Name of the strategy.
        scores: Mean test score of each strategy's finals.
        finals: Number of trainings, those of candidates included.
        seconds: Wall time of all these trainings, summed.
        search_seconds: Wall time of all trials, summed.
        of_strategies: Part of ``seconds`` of each strategy.
    """

    recommended: str
    scores: dict[str, float]
    finals: int
    seconds: float
    search_seconds: float
    of_strategies: dict[str, float]


def search(checkout: Path, workspace: Path, threads: int, fields: dict[str, Any]) -> Finals:
    """Run a search in a process of a checkout, or finish it; one that is finished is read."""
    command = [checkout / ".venv/bin/python", "-c", SIDE, workspace, threads, json.dumps(fields)]
    environment = harness.clean_environment() | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    # Paths of data and weights are those of this process.
    said = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment, cwd=checkout
    )
    result = next((line for line in said.stdout.splitlines() if line.startswith("RESULT ")), None)
    if result is None:
        raise SystemExit(f"The search of {checkout} ended without a verdict:\n{said.stderr[-2000:]}")
    return Finals(**json.loads(result.removeprefix("RESULT ")))


def report_dataset(report: Report, dataset: str, here: Sequence[Finals], older: Sequence[Finals]) -> None:
    """Add the rows of a dataset."""
    table = report.table(
        f"Finals of {len(here)} searches each",
        *("dataset", "trainings: older", "here", "seconds: older", "here ", "here / older", "target", "met"),
        *("test % of the recommended: older", "here  "),
    )
    ratios = [ours.seconds / rival.seconds for ours, rival in zip(here, older, strict=True)]
    table.add(
        dataset,
        *(harness.spread([each.finals for each in side]) for side in (older, here)),
        *(harness.spread([each.seconds for each in side]) for side in (older, here)),
        *(harness.spread(ratios, 2), TARGET, TARGET.judge(ratios)),
        *(f"{100 * statistics.mean(each.scores[each.recommended] for each in side):.1f}" for side in (older, here)),
    )
    of_strategies = report.table(
        "Seconds of a strategy's finals, median", "dataset", "strategy", "older", "here", "score: older", "here "
    )
    for name in here[0].scores:
        sides = [[each for each in side if name in each.scores] for side in (older, here)]
        of_strategies.add(
            dataset,
            name,
            *(f"{statistics.median(each.of_strategies[name] for each in side):.1f}" for side in sides),
            *(f"{100 * statistics.mean(each.scores[name] for each in side):.1f}" for side in sides),
        )


def main() -> None:
    options = repeatability.parser(__doc__)
    options.add_argument("older", type=Path, help="a checkout of the older commit, with its own .venv")
    options.add_argument("--datasets", nargs="+", default=DATASETS)
    options.add_argument("--trials", type=int, default=15, help="of each search (%(default)s)")
    options.set_defaults(seeds=3)
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    report = Report("finals_older", "What the finals cost, and what they recommend, beside an older commit.", chosen)
    for dataset in arguments.datasets:
        own = Setting(**{**vars(chosen), "data": str(SHARED / "data" / dataset)})
        here, older = [], []
        for seed in range(arguments.seeds):
            fields: dict[str, Any] = {
                **{name: getattr(own, name) for name in ("backbone", "image_size", "device")},
                **{"data": str(Path(own.data).resolve()), "weights": str(Path(own.weights).resolve())},
                **{"trials": arguments.trials, "seed": seed, "name": f"{dataset}-{seed}"},
            }
            for side, checkout, folder in ((older, arguments.older, "older"), (here, HERE, "here")):
                side.append(search(checkout.resolve(), arguments.workspace / folder, chosen.threads, fields))
                print(dataset, seed, folder, side[-1], flush=True)
        report_dataset(report, dataset, here, older)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
