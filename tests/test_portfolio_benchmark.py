"""The benchmark of starts: its comparisons on simulated trials, by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness import Report, Setting
from benchmarks.portfolio import COMPARED, STARTS, Cell, accuracy, cells_of, compare
from benchmarks.recordings import RecordedTrial, Recording
from tests.simulated_trials import SimulatedArm, simulate

RECORDING, _ = simulate([SimulatedArm("full", 0.9)], configurations=4, seeds=1)


def trial(number: int, val: float, test: float, dataset: str = "one") -> RecordedTrial:
    """A trial of one epoch with these scores."""
    any_trial = RECORDING.trials[0]
    scores = {"val_score": np.array([val]), "test_score": np.array([test]), "val_loss": np.array([1.0])}
    return replace(any_trial, dataset=dataset, backbone="net", strategy="full", number=number, best_epoch=0, **scores)


def recorded(dataset: str) -> list[RecordedTrial]:
    """The default, and three random configurations."""
    scores = ((0.5, 0.4), (0.6, 0.3), (0.4, 0.9), (0.7, 0.5))
    return [trial(number, *each, dataset) for number, each in enumerate(scores)]


def cell(*starts: RecordedTrial) -> Cell:
    default, *others = recorded("one")
    return Cell(starts, default, tuple(others), None)


def test_differences_are_those_of_the_test_scores() -> None:
    own = cell(trial(100, 0.8, 0.6), trial(101, 0.1, 0.2))
    differences = [difference(own) for difference in COMPARED.values()]
    # Random ones: 30, 90 and 50 on the test images. Of default and a pair, validation prefers 1, 3 and 3.
    assert differences == pytest.approx([40 - 40, 40 - 170 / 3, 60 - (30 + 50 + 50) / 3])


def test_a_single_start_is_compared_with_single_random_configurations() -> None:
    # Validation prefers the default to the start, and to the second random configuration.
    assert cell(trial(100, 0.3, 0.6)).first_three == pytest.approx(40 - (30 + 40 + 50) / 3)


def test_the_table_has_means_over_datasets() -> None:
    trials = [*recorded("one"), *recorded("two")]
    recording = Recording(tuple(trials), {}, {}, {})
    again = trial(0, 0.5, 0.5, "one")
    trained = [trial(STARTS[0], 0.8, 0.6, "one"), trial(STARTS[0], 0.8, 0.8, "two"), again]
    cells = cells_of(trained, recording)
    assert [accuracy(each.starts[0]) for each in cells.values()] == pytest.approx([60, 80])
    report = Report("portfolio", "", Setting())
    compare(cells, report)
    (table,) = report.tables.values()
    strategy, number, starts, gain, *_, better, trained_again = table.rows[-1]
    assert (strategy, number, starts, better, trained_again) == ("all", "2", "2", "2 of 2", "- (1)")
    # 20 and 40 points over the defaults: Student's interval of two values is 12.7 standard errors.
    assert gain == "+30.00 ± 127.06"
