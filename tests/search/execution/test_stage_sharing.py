"""A study whose trials share their first phase says the same, everywhere, as one in which each trains its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from frostline.objectives.epochs import EpochResult
from frostline.search.execution import run_search
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.tracking.mlflow_runs import find_runs
from frostline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("mlflow_records")

# The first phase is one of two: the slow one comes first, is finished, and is pruned when it comes again.
SPACE = """
[shared]
epochs = 5
batch_size = 8
head.dropout = 0.2
head.normalization = "batch"

[lp_ft]
probe_epochs = 3
probe_learning_rate = { choices = [1e-6, 1e-2] }
learning_rate = { low = 1e-4, high = 1e-2, log = true }
freeze_depth = { choices = [3, 4] }
truncate = 4
augmentation = "flip_crop"
views = 2
"""
TRIALS = 7


class Watching(Observer):
    """Keeps what a live view would show."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, EpochResult]] = []

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self.epochs.append((number, result))


def search(root: Path, cache_budget: str) -> tuple[Study, list[tuple[int, EpochResult]]]:
    (root / "space.toml").write_text(SPACE)
    watching = Watching()
    request = Request(
        **{"data": "sklearn:digits[0-2]@60", "backbone": "resnet18", "weights": "none", "image_size": 32},
        **{
            "space": root / "space.toml",
            "trials": TRIALS,
            "finals_seeds": 1,
            "candidates": 1,
            "name": "tiny",
            "device": "cpu",
        },
        cache_budget=cache_budget,
    )
    return run_search(request, Workspace(root), watching), watching.epochs


def told(epochs: list[tuple[int, EpochResult]]) -> list[tuple[Any, ...]]:
    return [(number, it.epoch, it.phase, it.train_loss, it.val_loss, it.score) for number, it in epochs]


def mlflow_steps(root: Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Every step of every metric that no clock measured, by trial."""
    uri = Workspace(root).tracking_url
    found = find_runs(uri, Study.load("tiny", Workspace(root)).mark)
    assert found is not None
    client = MlflowClient(tracking_uri=uri)
    steps = {}
    for key, run_id in found[1].items():
        names = set(client.get_run(run_id).data.metrics) - {"seconds", "peak_memory_mb", "device_seconds", "latency"}
        history = {name: client.get_metric_history(run_id, name) for name in names}
        steps[key] = {name: [(point.step, point.value) for point in points] for name, points in history.items()}
    return steps


@pytest.mark.slow  # Two searches with enough trials that some are pruned.
def test_a_study_is_the_same_with_and_without_shared_stages(tmp_path: Path) -> None:
    for name in ("alone", "shared"):
        (tmp_path / name).mkdir()
    alone, own_epochs = search(tmp_path / "alone", "0")
    shared, epochs = search(tmp_path / "shared", "200MB")
    assert list((tmp_path / "alone" / "stages").glob("*.stage")) == []
    # The finals bring their own seed, and train all of it: costs are compared there.
    assert len(list((tmp_path / "shared" / "stages").glob("*.stage"))) == 2
    records = [
        [(trial.state, trial.config, trial.score, trial.curve) for trial in study.trials()] for study in (alone, shared)
    ]
    assert records[0] == records[1]
    ends = {(trial.state, len(trial.curve)) for trial in shared.trials()}
    expected = {("complete", 5), ("pruned", 3), ("pruned", 4)}
    assert ends == expected, "there should be trials that end in what was put back"
    assert told(epochs) == told(own_epochs)
    assert mlflow_steps(tmp_path / "shared") == mlflow_steps(tmp_path / "alone")
    tests = [[final.test_score for final in study.final_records()] for study in (alone, shared)]
    assert tests[0] == tests[1]
