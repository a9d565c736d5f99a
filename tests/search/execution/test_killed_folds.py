"""A search over folds that is killed within one and resumed: the study and MLflow have the same."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.search.study.study import Study
from frostline.storage.tracking.mlflow_runs import find_runs
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = [pytest.mark.usefixtures("mlflow_records"), pytest.mark.slow]

FOLDS = 3
SPACE = "[shared]\nepochs = 3\nbatch_size = 16\n\n[feature_extraction]\nlearning_rate = 3e-2\n"
# Kills itself in the last fold, right after a checkpoint of its first epoch.
KILLED = """
import os, signal
from frostline.dashboards.cli import main
from frostline.storage.files import PacedCheckpoints

save, saved = PacedCheckpoints.save, []

def save_and_die(self, state, *, now=False):
    saved.append(save(self, state, now=True))
    if len(saved) == 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return saved[-1]

PacedCheckpoints.save = save_and_die
main()
"""


def search_args(root: Path) -> list[str]:
    (root / "space.toml").write_text(SPACE)
    return [
        *("search", few_digits(), "--backbone", "tiny_network:create", "--weights", "none"),
        *("--image-size", "32", "--space", str(root / "space.toml"), "--trials", "1", "--seeds", "1", "--no-audit"),
        *("--folds", str(FOLDS), "--device", "cpu", "--name", "tiny", "--workspace", str(root)),
    ]


def invoke(*args: str | Path) -> None:
    result = CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")
    assert result.exit_code == 0, result.output


def numbers(root: Path) -> list[object]:
    study = Study.load("tiny", Workspace(root))
    trials = [(each.state, each.curve, [(fold.score, fold.epochs) for fold in each.folds]) for each in study.trials()]
    finals = sorted((each.seed, each.val_score, each.probabilities.tolist()) for each in study.final_records())
    study.close()
    return [trials, finals]


def curve(root: Path, name: str) -> list[tuple[int, float]]:
    """A metric of the trial in MLflow, by step."""
    place = Workspace(root)
    found = find_runs(place.tracking_url, Study.load("tiny", place).mark)
    assert found is not None
    client = MlflowClient(tracking_uri=place.tracking_url)
    return [(point.step, point.value) for point in client.get_metric_history(found[1]["trial-0"], name)]


def test_killed_in_the_last_fold_and_resumed(
    tmp_path: Path, tracking_database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for root in (whole, cut):
        root.mkdir()
        shutil.copy(tracking_database, root)
    invoke(*search_args(whole), "--workers", "1")
    monkeypatch.setenv("FROSTLINE_LEASE_SECONDS", "2")
    killed = [sys.executable, "-c", KILLED, *search_args(cut), "--workers", "1"]
    done = subprocess.run(killed, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    study = Study.load("tiny", Workspace(cut))
    assert len(study.trial(0).folds) == FOLDS - 1
    study.close()
    invoke("resume", "tiny", "--workers", "1", "--workspace", cut)
    assert numbers(cut) == numbers(whole)
    for name in ("curves/val_score", "curves/fold_score"):
        told = curve(cut, name)
        assert told == curve(whole, name)
        assert [step for step, _ in told] == list(range(FOLDS))
    invoke("doctor", "tiny", "--workspace", cut)
