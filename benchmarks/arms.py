"""The arms of a replayed search: the strategies of a dataset and a backbone, with their recorded configurations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from benchmarks.recordings import Cell, RecordedTrial, Recording


@dataclass(frozen=True, eq=False)
class Configuration:
    """A recorded configuration.

    Attributes:
        trial: Its trial with the first seed, which a replay trains.
        final: Test score of its finals: the mean over the recorded seeds.
        worth: Its expected test score, where a simulation knows it; else that of its finals.
    """

    trial: RecordedTrial
    final: float
    worth: float


@dataclass(frozen=True)
class Arms:
    """The strategies that compete on a dataset and a backbone.

    Attributes:
        dataset: Name of the dataset.
        backbone: Name of the backbone.
        configurations: By strategy; the first is the default.
    """

    dataset: str
    backbone: str
    configurations: Mapping[str, Sequence[Configuration]]

    @property
    def strategies(self) -> list[str]:
        return list(self.configurations)

    @property
    def trials(self) -> list[RecordedTrial]:
        return [each.trial for own in self.configurations.values() for each in own]

    @cached_property
    def val_images(self) -> int:
        """Number of validation images."""
        return max(len(trial.val_predictions) for trial in self.trials)

    @cached_property
    def worths(self) -> dict[str, float]:
        """Expected test score of each strategy's best configuration."""
        return {
            name: max(each.worth for each in own if each.trial.complete) for name, own in self.configurations.items()
        }

    @cached_property
    def best(self) -> float:
        """Expected test score of the best configuration."""
        return max(self.worths.values())


def arms_of(
    recording: Recording,
    strategies: Sequence[str],
    least: int = 3,
    worths: Mapping[Cell, Mapping[int, float]] | None = None,
) -> list[Arms]:
    """Return the arms of each recorded dataset and backbone.

    Args:
        recording: Recorded trials.
        strategies: Names of the strategies that compete.
        least: Number of complete configurations that every strategy must have; else the dataset and backbone is left
            out.
        worths: Expected test scores of each cell's configurations by number, if the recording is simulated.
    """
    found = []
    for dataset, backbone in dict.fromkeys((trial.dataset, trial.backbone) for trial in recording.trials):
        cells = {name: (dataset, backbone, name) for name in strategies}
        own = {name: _configurations(recording, cell, (worths or {}).get(cell)) for name, cell in cells.items()}
        if all(sum(each.trial.complete for each in configurations) >= least for configurations in own.values()):
            found.append(Arms(dataset, backbone, own))
    return found


def _configurations(recording: Recording, cell: Cell, worths: Mapping[int, float] | None) -> list[Configuration]:
    numbers: dict[int, list[RecordedTrial]] = defaultdict(list)
    for trial in recording.cells.get(cell, []):
        numbers[trial.number].append(trial)
    found = []
    for number, trials in numbers.items():
        scores = [trial.test_score[trial.best_epoch] for trial in trials if trial.complete]
        final = float(np.mean(scores)) if scores else 0.0
        found.append(Configuration(trials[0], final, worths[number] if worths else final))
    return found
