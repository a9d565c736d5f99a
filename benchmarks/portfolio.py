"""What a start from other datasets' best configurations is worth: leave one dataset out, and train.

    python benchmarks/portfolio.py --records DIR --keep      # trains for half an hour; goes on where it stopped

The best recorded configuration of each dataset, backbone and strategy (benchmarks/recordings/, the highest validation
score of about ten random ones and the default) is the portfolio. Each dataset is searched as if it were new: it takes
starts from the five others as a study does (`choose_starts`), which are trained here, seed 0. On the test images they
are compared with the recorded default and random configurations of the same dataset, seed 0, which a search trains
there without a prior. Last, the defaults are trained again: what they gain over the recorded ones is no gain of starts.

Intervals (95 %) are Student's over the means of the six datasets, for what a start is worth differs by dataset.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations, product
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
# Numbers of configurations: the default, as in a recording, and the starts.
DEFAULT, STARTS = 0, tuple(range(100, 100 + MOST))


class StartBench(Bench):
    """Trains starts, and the defaults again.

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
        """The first starts of all cells, the second ones, the defaults."""
        cells = [(*pair, strategy) for pair in self._pairs for strategy in STRATEGIES]
        return [
            Planned(*cell, number, 0)
            for number, cell in product((*STARTS, DEFAULT), cells)
            if number == DEFAULT or number - STARTS[0] < len(self.starts[cell])
        ]

    def config(self, planned: Planned) -> TrialConfig:
        if planned.number == DEFAULT:
            return create_config(self._recording.cell(*planned.cell)[0].config)
        start = self.starts[planned.cell][planned.number - STARTS[0]]
        space = self._space(planned.dataset, planned.backbone)
        return create_config(space.default_with(planned.strategy, start.values))


def _by_validation(trial: RecordedTrial) -> tuple[float, float]:
    """The higher validation score; of equals, the lower log loss."""
    return (trial.score, -trial.val_loss[trial.best_epoch]) if trial.complete else (0.0, 0.0)


def accuracy(trial: RecordedTrial) -> float:
    """Accuracy on the test images, %; 0 if the training failed."""
    return 100 * float(trial.test_score[trial.best_epoch]) if trial.complete else 0.0


@dataclass(frozen=True)
class Cell:
    """What is compared on a dataset, a backbone and a strategy.

    Attributes:
        starts: Trained starts, the nearest first.
        default: Recorded default.
        random: Recorded random configurations.
        again: The default, trained again; None if it was not.
    """

    starts: tuple[RecordedTrial, ...]
    default: RecordedTrial
    random: tuple[RecordedTrial, ...]
    again: RecordedTrial | None

    @property
    def first_three(self) -> float:
        """Test score of the best by validation of default and starts, less that of default and as many random ones."""
        others = combinations(self.random, len(self.starts))
        return _best(self.default, *self.starts) - float(np.mean([_best(self.default, *each) for each in others]))


def _best(*trials: RecordedTrial) -> float:
    return accuracy(max(trials, key=_by_validation))


def _mean(trials: Iterable[RecordedTrial]) -> float:
    return float(np.mean([accuracy(trial) for trial in trials]))


COMPARED: dict[str, Callable[[Cell], float]] = {
    "starts - default": lambda cell: _mean(cell.starts) - accuracy(cell.default),
    "starts - random": lambda cell: _mean(cell.starts) - _mean(cell.random),
    "best of default and starts - of default and as many random": lambda cell: cell.first_three,
}
AGAIN = "default again - default"


def cells_of(trials: Iterable[RecordedTrial], recording: Recording) -> dict[tuple[str, str, str], Cell]:
    """Return what is compared, of all cells with a trained start.

    Args:
        trials: Trained starts and defaults.
        recording: Recorded trials.
    """
    trained: dict[tuple[str, str, str], dict[int, RecordedTrial]] = defaultdict(dict)
    for trial in trials:
        trained[trial.cell][trial.number] = trial
    found = {}
    for cell, own in trained.items():
        default, *others = recording.cell(*cell)
        if starts := tuple(own[number] for number in STARTS if number in own):
            found[cell] = Cell(starts, default, tuple(others), own.get(DEFAULT))
    return found


def compare(cells: Mapping[tuple[str, str, str], Cell], report: harness.Report) -> None:
    """Write the table of the comparisons."""
    table = report.table(
        "Difference of test accuracy, points", "strategy", "cells", "starts", *COMPARED, "better", AGAIN
    )
    groups = {name: (name,) for name in STRATEGIES}
    for strategy, group in {**groups, "all but the first": STRATEGIES[1:], "all": STRATEGIES}.items():
        own = {name: cell for name, cell in cells.items() if name[2] in group}
        gains = [cell.first_three for cell in own.values()]
        again = {name: accuracy(cell.again) - accuracy(cell.default) for name, cell in own.items() if cell.again}
        if not own:
            continue
        table.add(
            strategy,
            len(own),
            sum(len(cell.starts) for cell in own.values()),
            *(_interval({name: difference(cell) for name, cell in own.items()}) for difference in COMPARED.values()),
            f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
            f"{_interval(again)} ({len(again)})",
        )


def _interval(values: Mapping[tuple[str, str, str], float]) -> str:
    """Return the mean over datasets with its interval."""
    datasets = dict.fromkeys(dataset for dataset, _, _ in values)
    means = [float(np.mean([value for name, value in values.items() if name[0] == dataset])) for dataset in datasets]
    return interval(means) if len(means) > 1 else "-"


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
    recording = read_recording()
    bench = StartBench(settings, arguments.records, recording)
    planned = bench.planned()
    if not arguments.shown:
        record_missing(bench, planned)
    chosen = harness.Setting(**{name: getattr(arguments, name) for name in harness.Setting.__dataclass_fields__})
    report = harness.Report("portfolio", "Starts from other datasets' best configurations.", chosen)
    cells = cells_of(recorded(arguments.records, planned), recording)
    if not cells:
        raise SystemExit(f"{arguments.records} holds no trained start: leave out --shown.")
    compare(cells, report)
    report.notes += [
        '"Better" counts the column before it. In brackets: how many defaults were trained again.',
        "The configurations are of the recording's time, when heads of feature extraction started at random; today "
        "they start solved by default. So the row of feature extraction does not say what starts gain over today's "
        "default.",
    ]
    harness.finish(report, arguments)


if __name__ == "__main__":
    main()
