"""Trials in populations: asked in batches, told together, and as exact as one at a time."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from frostline.objectives.epochs import EpochResult
from frostline.search.execution import resume, run_search
from frostline.search.execution.run import SearchInterrupted
from frostline.search.sampling.budget import strategy_floor
from frostline.search.slots import Resources
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.settings import MAX_POPULATION, POPULATION, default_population
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

SPACE = """
[shared]
epochs = 4
patience = 99
batch_size = 16
learning_rate = { low = 1e-4, high = 1e-1, log = true, default = 3e-3 }

[feature_extraction]
head.dropout = { low = 0.0, high = 0.5 }
head.hidden_layers = { low = 0, high = 1 }
head.width = 16

[partial]
epochs = 1
freeze_depth = -1
"""
TRIALS, STRATEGIES, SIZE = 10, 2, 4


class Order(Observer):
    """What was told, in order: numbers of trials begun (+) and ended (-)."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        self.events: list[tuple[str, int]] = []
        self.notes: list[str] = []
        self._stop = stop

    def note(self, message: str) -> None:
        self.notes.append(message)

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self.events.append(("+", number))

    def trial_finished(self, trial: Any) -> None:
        self.events.append(("-", trial.number))

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        if (number, result.epoch) == self._stop:
            raise KeyboardInterrupt

    @property
    def batches(self) -> list[list[int]]:
        """Trials that ran at the same time."""
        every: list[list[int]] = [[]]
        for place, (sign, number) in enumerate(self.events):
            if sign == "+" and place > 0 and self.events[place - 1][0] == "-":
                every.append([])
            if sign == "+":
                every[-1].append(number)
        return every


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("space") / "space.toml"
    path.write_text(SPACE)
    return path


def request(space: Path, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "data": few_digits(),
        "backbone": "shufflenet_v2_x0_5",
        "weights": "none",
        "image_size": 32,
        "space": space,
        "trials": TRIALS,
        "finals_seeds": 1,
        "candidates": 1,
        "name": "tiny",
        "device": "cpu",
        "population": SIZE,
    }
    return Request(**{**values, **changes})


@pytest.fixture
def workspace(tmp_path: Path, tracking_database: Path) -> Workspace:
    shutil.copy(tracking_database, tmp_path)
    return Workspace(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tracking_database: Path, space: Path) -> tuple[Study, Order]:
    order, root = Order(), tmp_path_factory.mktemp("undisturbed")
    shutil.copy(tracking_database, root)
    return run_search(request(space), Workspace(root), order), order


def seen(study: Study) -> list[tuple[Any, ...]]:
    return [(trial.number, trial.state, trial.strategy, trial.config, trial.score) for trial in study.trials()]


def curves(study: Study) -> list[dict[int, float]]:
    return [trial.curve for trial in study.trials()]


def test_defaults_come_first_then_the_floor_of_heads_in_one_population(undisturbed: tuple[Study, Order]) -> None:
    study, order = undisturbed
    strategies = [trial.strategy for trial in study.trials()]
    floor = strategy_floor(TRIALS, STRATEGIES)
    assert strategies[:2] == ["feature_extraction", "partial"]
    assert strategies[2 : 1 + floor] == ["feature_extraction"] * (floor - 1)
    assert strategies.count("partial") >= floor
    assert order.batches[:3] == [[0], [1], list(range(2, 1 + floor))]
    assert [number for sign, number in order.events if sign == "-"] == list(range(TRIALS))
    for batch in order.batches:
        assert len(batch) <= SIZE
        assert len(batch) == 1 or {strategies[number] for number in batch} == {"feature_extraction"}


def test_populations_count_each_trial_once(undisturbed: tuple[Study, Order]) -> None:
    study, _ = undisturbed
    trials = study.trials()
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} <= {"complete", "pruned"}
    for trial in trials:
        assert trial.seconds is not None
        assert trial.seconds > 0
        assert trial.state == "pruned" or max(trial.curve.values()) == trial.score


def test_the_trials_of_a_batch_differ(undisturbed: tuple[Study, Order]) -> None:
    study, order = undisturbed
    drawn = [
        tuple(sorted(map(str, study.trials()[number].config.items()))) for batch in order.batches for number in batch
    ]
    assert len(set(drawn)) == TRIALS


@pytest.mark.parametrize("stop", [(3, 2), pytest.param((4, 0), marks=pytest.mark.slow)])
def test_ctrl_c_in_a_population_loses_and_doubles_nothing(
    workspace: Workspace, space: Path, undisturbed: tuple[Study, Order], stop: tuple[int, int]
) -> None:
    with pytest.raises(SearchInterrupted):
        run_search(request(space), workspace, Order(stop))
    states = [trial.state for trial in Study.load("tiny", workspace).trials()]
    assert "running" not in states
    order = Order()
    resumed = resume("tiny", workspace, order, resources=Resources("cpu"))
    assert seen(resumed) == seen(undisturbed[0])
    assert curves(resumed) == curves(undisturbed[0])
    assert sum(len(batch) for batch in order.batches) == TRIALS - states.count("complete") - states.count("pruned")


@pytest.mark.slow  # A killed process is quick in test_cli.py.
def test_a_population_that_was_killed_is_run_again(
    workspace: Workspace, space: Path, undisturbed: tuple[Study, Order]
) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        f"from {__name__} import Order, Workspace, request, run_search\n"
        "class Slow(Order):\n"
        "    def epoch_finished(self, number, result):\n"
        "        if (number, result.epoch) == (3, 2):\n"
        "            print('here', flush=True)\n"
        "            time.sleep(60)\n"
        "run_search(request(Path(sys.argv[2])), Workspace(Path(sys.argv[3])), Slow())\n"
    )
    arguments = [str(Path(__file__).parents[3]), str(space), str(workspace.root)]
    with subprocess.Popen([sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "here\n"
        os.kill(process.pid, signal.SIGKILL)
    with closing(sqlite3.connect(workspace.root / "studies.db")) as connection:
        found = connection.execute("SELECT state, count(*) FROM trials GROUP BY state").fetchall()
    assert dict(found)["RUNNING"] == strategy_floor(TRIALS, STRATEGIES) - 1 + 1
    order = Order()
    resumed = resume("tiny", workspace, order, resources=Resources("cpu"))
    assert seen(resumed) == seen(undisturbed[0])
    assert len([note for note in order.notes if "was interrupted" in note]) == dict(found)["RUNNING"]


@pytest.mark.parametrize(
    ("trials", "images", "device", "expected"),
    [
        *((3, 100, "cuda", 1), (8, 100, "cuda", 2), (30, 100, "cuda", 7), (200, 100, "cuda", POPULATION)),
        *((200, MAX_POPULATION + 1, "cuda", 1), (200, 100, "cpu", 1)),
    ],
)
def test_how_many_train_together_by_default(trials: int, images: int, device: str, expected: int) -> None:
    assert default_population(trials, images, device) == expected
