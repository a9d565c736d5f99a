"""Do two independent searches of one dataset recommend the same strategy, and how good is it?

    python benchmarks/repeatability.py --workspace DIR --keep           # hours on one core; goes on where it stopped
    python benchmarks/repeatability.py --workspace DIR --seeds 2        # shorter

Each search is the command that a user types, with another `--seed`: other validation images, trials and finals on the
same test images. Two searches agree if they recommend the same strategy, or if each calls the other's a tie. The regret
of a recommendation is the mean test score of the best strategy, over the finals of all searches of the dataset, minus
that of the recommended one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import harness
from benchmarks.harness import SHARED, Report, Setting
from frostline.search.execution import run_search
from frostline.search.study import LineProgress
from frostline.storage.workspace import Workspace

DATASETS = ("garments_small", "clothing", "flowers")


@dataclass(frozen=True)
class Outcome:
    """What one search came to.

    Attributes:
        recommended: Name of the strategy.
        tied: Names of the strategies that lead or may be as good as the leader.
        scores: Mean test score of each strategy's finals.
        trials: Number of trials of each strategy.
        finals: Number of trainings of the finals, those of candidates included.
        search_seconds: Wall time of all trials, summed.
        finals_seconds: Wall time of all finals, summed.
    """

    recommended: str
    tied: frozenset[str]
    scores: dict[str, float]
    trials: Mapping[str, int] = field(default_factory=dict)
    finals: int = 0
    search_seconds: float = 0.0
    finals_seconds: float = 0.0


def agree(one: Outcome, other: Outcome) -> bool:
    """Return whether two searches recommend the same strategy, or each calls the other's a tie."""
    if one.recommended == other.recommended:
        return True
    return one.recommended in other.tied and other.recommended in one.tied


def regrets(outcomes: Sequence[Outcome]) -> list[float]:
    """Return how far each recommendation is below the best strategy, by the mean scores over all searches."""
    names = set.union(*(set(outcome.scores) for outcome in outcomes))
    means = {
        name: statistics.mean(outcome.scores[name] for outcome in outcomes if name in outcome.scores) for name in names
    }
    return [max(means.values()) - means[outcome.recommended] for outcome in outcomes]


def search(setting: Setting, workspace: Path, name: str, **more: object) -> Outcome:
    """Run a search, or finish it; one that is finished is read.

    Args:
        setting: What is searched.
        workspace: Folder of the studies.
        name: Of the study.
        more: Other fields of its request.
    """
    request = setting.request(name=name, **more)
    results = run_search(request, Workspace(workspace), LineProgress(lambda line: None)).results()
    verdict = results.verdict
    assert verdict is not None
    finals = (*results.finals, *results.candidate_finals)
    return Outcome(
        recommended=verdict.winner.strategy,
        tied=frozenset(contender.strategy for contender in verdict.contenders if contender.tied),
        scores={contender.strategy: contender.mean for contender in verdict.contenders},
        trials=Counter(trial.strategy for trial in results.trials if trial.strategy),
        finals=len(finals),
        search_seconds=sum(trial.seconds or 0.0 for trial in results.trials),
        finals_seconds=sum(final.seconds for final in finals),
    )


def report_dataset(report: Report, dataset: str, outcomes: Sequence[Outcome]) -> None:
    """Add a dataset's row, and what its searches recommended."""
    summary = report.table(
        "Pairs of independent searches",
        *("dataset", "searches", "pairs that agree", "mean regret, points", "largest", "undecided", "recommended"),
        *("finals", "their seconds, share of the search's"),
    )
    pairs = [agree(*pair) for pair in combinations(outcomes, 2)]
    lost = [100 * each for each in regrets(outcomes)]
    recommended = Counter(outcome.recommended for outcome in outcomes)
    summary.add(
        dataset,
        len(outcomes),
        f"{sum(pairs)} of {len(pairs)}",
        f"{statistics.mean(lost):.2f}",
        f"{max(lost):.2f}",
        sum(len(outcome.tied) > 1 for outcome in outcomes),
        ", ".join(f"{name} {count}" for name, count in recommended.most_common()),
        harness.spread([outcome.finals for outcome in outcomes]),
        harness.spread([outcome.finals_seconds / outcome.search_seconds for outcome in outcomes], 2),
    )
    each = report.table(f"{dataset}: each search", "seed", "recommended", "ties", "test %")
    for seed, outcome in enumerate(outcomes):
        scores = sorted(outcome.scores.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} {100 * score:.1f}" for name, score in scores)
        each.add(seed, outcome.recommended, ", ".join(sorted(outcome.tied - {outcome.recommended})) or "none", shown)


def parser(document: str | None) -> argparse.ArgumentParser:
    """Options of benchmarks that search each dataset several times."""
    options = harness.parser(document)
    options.add_argument("--workspace", type=Path, required=True, help="folder of the studies")
    options.add_argument("--seeds", type=int, default=6, help="searches of each dataset (%(default)s)")
    options.set_defaults(
        data=str(SHARED / "data" / DATASETS[0]),
        backbone="squeezenet1_1",
        weights=str(SHARED / "weights/squeezenet1_1_imagenet.safetensors"),
        image_size=64,
    )
    return options


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--datasets", nargs="+", default=DATASETS)
    options.add_argument("--trials", type=int, default=15, help="of each search (%(default)s)")
    arguments: argparse.Namespace = options.parse_args()
    chosen = harness.setting(arguments)
    report = Report("repeatability", "Whether independent searches of one dataset recommend the same strategy.", chosen)
    report.notes.append(
        "The first setting's dataset is named above; all datasets ran with the same network. Targets: at least 90 % of "
        "the pairs agree; a mean regret of at most 1 point."
    )
    for dataset in arguments.datasets:
        own = Setting(**{**vars(chosen), "data": str(SHARED / "data" / dataset)})
        outcomes = []
        for seed in range(arguments.seeds):
            name = f"{dataset}-{seed}"
            outcomes.append(search(own, arguments.workspace, name, trials=arguments.trials, seed=seed))
            print(dataset, seed, outcomes[-1], flush=True)
        report_dataset(report, dataset, outcomes)
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
