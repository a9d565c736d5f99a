"""What a start from other datasets' best configurations is worth: leave one dataset out, and train.

    python benchmarks/portfolio.py --records DIR --keep      # trains, half an hour of a core; goes on where it stopped

The best recorded configuration of each dataset, backbone and strategy (benchmarks/recordings/, the highest validation
score of about eleven random ones and the default) is the portfolio. Each dataset is searched as if it were new: it
takes starts from the five others as a study does (`choose_starts`). These, the default and two random configurations
are trained by the same code, seed 0. It asks on the test images:

- is a start better than the default, and than a random configuration, which is what a search trains there without it?
- is the best by validation of the default and two starts better than that of the default and two random ones?

Intervals (95 %) are Student's over the means of the six datasets, for what a start is worth differs by dataset.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import optuna
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks is no installed package

from benchmarks import harness
from benchmarks.paired_scores import interval
from benchmarks.record_files import Planned, open_records, recorded
from benchmarks.record_trials import Bench, Settings, default_settings, record_missing
from benchmarks.recordings import RecordedTrial, Recording, read_recording
from frostline.objectives.config import TrialConfig, create_config
from frostline.search.study.portfolio import Best, Description, PastStudy, Portfolio
from frostline.search.study.prior import MOST, choose_starts
from frostline.search.study.starts import Start

STRATEGIES = ("feature_extraction", "partial", "full", "lp_ft")
# Numbers of configurations: as in a recording, and of the starts.
DEFAULT, RANDOM, STARTS = 0, (1, 2), tuple(range(100, 100 + MOST))

Scores = Mapping[int, RecordedTrial]


class StartBench(Bench):
    """Trains starts, beside the default and random configurations.

    Args:
        settings: What is trained.
        folder: Folder of the records.
        recording: Recorded trials, of which the best are taken over.
    """

    def __init__(self, settings: Settings, folder: Path, recording: Recording) -> None:
        super().__init__(settings, folder)
        self._recording = recording
        self._pairs = list(product([source.name for source in settings.sources], self._pools))
        portfolio = Portfolio(studies=tuple(self._past(*pair) for pair in self._pairs))
        self.starts: dict[tuple[str, ...], list[Start]] = defaultdict(list)
        for pair in self._pairs:
            chosen, _ = choose_starts(portfolio, self._description(*pair), self._space(*pair))
            for start in chosen:
                self.starts[*pair, start.strategy].append(start)

    def _description(self, dataset: str, backbone: str) -> Description:
        known, units = self._recording.datasets[dataset], len(self._pools[backbone].pretrained.units)
        return Description(
            data=(dataset,),
            images=sum(known["train"]),
            classes=len(known["classes"]),
            image_size=self._pools[backbone].spec.image_size,
            metric=self.settings.facts()["metric"],
            backbone=backbone,
            pretrained=True,
            units=units,
        )

    def _past(self, dataset: str, backbone: str) -> PastStudy:
        best = {}
        for strategy in STRATEGIES:
            complete = [each for each in self._recording.cell(dataset, backbone, strategy) if each.complete]
            chosen = max(complete, key=_by_validation)
            domains = self._space(dataset, backbone).strategies[strategy]
            values = {name: value for name, value in chosen.config.items() if name in domains}
            best[strategy] = Best(values=values, score=chosen.score, seeds=1)
        return PastStudy(name=f"{dataset}-{backbone}", description=self._description(dataset, backbone), best=best)

    def planned(self) -> list[Planned]:
        """Default, random configurations and starts, of cells with a start."""
        cells = [(*pair, strategy) for pair in self._pairs for strategy in STRATEGIES]
        numbers = (STARTS[0], DEFAULT, RANDOM[0], *STARTS[1:], *RANDOM[1:])
        return [
            Planned(*cell, number, 0)
            for number, cell in product(numbers, cells)
            if number not in STARTS or number - STARTS[0] < len(self.starts[cell])
        ]

    def config(self, planned: Planned) -> TrialConfig:
        if planned.number not in STARTS:
            return super().config(planned)
        start = self.starts[planned.cell][planned.number - STARTS[0]]
        space = self._space(planned.dataset, planned.backbone)
        return create_config(space.default_with(planned.strategy, start.values))


def _by_validation(trial: RecordedTrial) -> tuple[float, float]:
    """The higher validation score; of equals, the lower log loss."""
    return (trial.score, -trial.val_loss[trial.best_epoch]) if trial.complete else (0.0, 0.0)


def test_score(trial: RecordedTrial) -> float:
    """Accuracy on the test images, %; 0 if the training failed."""
    return 100 * float(trial.test_score[trial.best_epoch]) if trial.complete else 0.0


def _first_three(own: Scores, others: tuple[int, ...]) -> float:
    tried = [own[number] for number in (DEFAULT, *others) if number in own]
    return test_score(max(tried, key=_by_validation))


def _mean(own: Scores, numbers: tuple[int, ...]) -> float:
    return float(np.mean([test_score(own[number]) for number in numbers if number in own]))


COMPARED: dict[str, Callable[[Scores], float]] = {
    "start - default": lambda own: _mean(own, STARTS) - test_score(own[DEFAULT]),
    "start - random": lambda own: _mean(own, STARTS) - _mean(own, RANDOM),
    "first start - random": lambda own: _mean(own, STARTS[:1]) - _mean(own, RANDOM),
    "best of default and 2 starts - of default and 2 random": lambda own: (
        _first_three(own, STARTS) - _first_three(own, RANDOM)
    ),
}


def compared(trials: list[RecordedTrial], report: harness.Report) -> None:
    """Write the table of the comparisons, of the cells of which all is trained."""
    cells: dict[tuple[str, str, str], dict[int, RecordedTrial]] = defaultdict(dict)
    for trial in trials:
        cells[trial.cell][trial.number] = trial
    whole = {cell: own for cell, own in cells.items() if {DEFAULT, RANDOM[0], STARTS[0]} <= own.keys()}
    table = report.table("Difference of test accuracy, points", "strategy", "n", "higher, equal, lower", *COMPARED)
    for strategy in (*STRATEGIES, "all"):
        own = {cell: each for cell, each in whole.items() if strategy in (cell[2], "all")}
        values = {name: [(cell[0], compare(each)) for cell, each in own.items()] for name, compare in COMPARED.items()}
        last = [value for _, value in values[list(COMPARED)[-1]]]
        counts = ", ".join(str(sum(sign == np.sign(value) for value in last)) for sign in (1, 0, -1))
        table.add(strategy, len(own), counts, *(interval(_by_dataset(pairs)) for pairs in values.values()))


def _by_dataset(pairs: list[tuple[str, float]]) -> list[float]:
    datasets = dict.fromkeys(dataset for dataset, _ in pairs)
    return [float(np.mean([value for name, value in pairs if name == dataset])) for dataset in datasets]


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--records", type=Path, required=True, help="folder of the records, a file a trial")
    options.add_argument("--shown", action="store_true", help="train nothing: what the records say")
    options.set_defaults(data="recorded", backbone="two", weights="ImageNet", image_size=64)
    arguments = options.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings = default_settings()
    open_records(settings.facts(), arguments.records)
    bench = StartBench(settings, arguments.records, read_recording())
    planned = bench.planned()
    if not arguments.shown:
        record_missing(bench, planned)
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("portfolio", "Starts from other datasets' best configurations.", chosen)
    compared(recorded(arguments.records, planned), report)
    report.notes.append('"Higher, equal, lower" counts the last column; intervals are over six datasets.')
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
