"""A process that is killed after it recorded a training and before it told MLflow of it: the next one does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.search.study.study import Study
from frostline.storage.tracking.mlflow_runs import find_runs
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = [pytest.mark.usefixtures("mlflow_records"), pytest.mark.slow]

SPACE = "[shared]\nepochs = 2\nbatch_size = 16\n\n[feature_extraction]\nlearning_rate = 3e-3\n"
KEYS = ["final-feature_extraction-0-1000", "final-feature_extraction-0-1001"]
# Kills itself right after a table has got its first row.
KILLED = """
import os, signal, sys
from frostline.dashboards.cli import main
from frostline.storage.database import CurveTable, FinalsTable

table = {"finals": FinalsTable, "curve": CurveTable}[sys.argv.pop(1)]
add = table.add

def add_and_die(*args, **options):
    add(*args, **options)
    os.kill(os.getpid(), signal.SIGKILL)

table.add = add_and_die
main()
"""


def search_args(root: Path) -> list[str]:
    (root / "space.toml").write_text(SPACE)
    return [
        *("search", few_digits(), "--backbone", "tiny_network:create", "--weights", "none"),
        *("--image-size", "32", "--space", str(root / "space.toml"), "--trials", "1", "--seeds", "2", "--no-race"),
        *("--device", "cpu", "--workers", "1", "--name", "tiny", "--workspace", str(root)),
    ]


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")


def kill_after(table: str, root: Path, *args: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, table, *args], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.fixture
def root(tmp_path: Path, tracking_database: Path) -> Path:
    shutil.copy(tracking_database, tmp_path)
    return tmp_path


def run_of(root: Path, key: str) -> Run:
    place = Workspace(root)
    found = find_runs(place.tracking_url, Study.load("tiny", place).mark)
    assert found is not None
    return MlflowClient(tracking_uri=place.tracking_url).get_run(found[1][key])


def content(root: Path, key: str) -> dict[str, Any]:
    """What MLflow has of a run, but what a clock measured and its ids."""
    client, run = MlflowClient(tracking_uri=Workspace(root).tracking_url), run_of(root, key)
    metrics = {
        name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
        if name not in ("seconds", "peak_memory_mb")
    }
    files = {file.path for file in client.list_artifacts(run.info.run_id)}
    tables = {
        name: json.loads(Path(client.download_artifacts(run.info.run_id, name)).read_text())
        for name in files
        if name.endswith(".json")
    }
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.parent")}
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "measured": {"seconds", "peak_memory_mb"} & run.data.metrics.keys(),
        "metrics": metrics,
        "params": run.data.params,
        "tags": tags,
        "files": files,
        "tables": tables,
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, tracking_database: Path, mlflow_records: None) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    shutil.copy(tracking_database, root)
    result = invoke(*search_args(root))
    assert result.exit_code == 0, result.output
    assert invoke("curve", "tiny", "--sizes", "12", "--seeds", "1", "--workspace", root).exit_code == 0
    return root


@pytest.mark.parametrize("command", ["resume", "sync", "search"])
def test_a_final_that_was_recorded_just_before_a_kill_is_told(command: str, root: Path, undisturbed: Path) -> None:
    args = search_args(root)
    kill_after("finals", root, *args)
    study = Study.load("tiny", Workspace(root))
    assert len(study.final_scores()) == 1
    study.close()
    ended = invoke(*(args if command == "search" else [command, "tiny", "--workspace", root]))
    assert ended.exit_code == 0, ended.output
    expected = content(undisturbed, KEYS[0])
    assert expected["files"] == {"certificate.json", "confusion.json", "worst_mistakes.json", "worst_mistakes.png"}
    assert expected["measured"] == {"seconds", "peak_memory_mb"}
    # Where a final stands is known when all have ended, which a sync does not wait for.
    stands = expected["tags"].pop("standing")
    told = content(root, KEYS[0])
    assert told["tags"].pop("standing", None) == (None if command == "sync" else stands)
    assert told == expected
    if command != "sync":
        assert content(root, KEYS[1]) == content(undisturbed, KEYS[1])
        agrees = invoke("doctor", "tiny", "--workspace", root)
        assert agrees.exit_code == 0, agrees.output


def test_what_a_killed_slot_and_its_supervisor_had_in_the_pipe_is_told_from_the_database(
    root: Path, undisturbed: Path
) -> None:
    kill_after("finals", root, *search_args(root))
    # The last records before the row, as if the supervisor had not read them: the images of mistakes and the verdict.
    journal = Workspace(root).journal("tiny")
    lines = journal.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if not (b'"kind":"file"' in line and b'"final-' in line)]
    assert len(kept) < len(lines)
    journal.write_bytes(b"".join(kept))
    assert invoke("resume", "tiny", "--workspace", root).exit_code == 0
    assert content(root, KEYS[0]) == content(undisturbed, KEYS[0])


def test_a_training_of_the_curve_that_was_recorded_just_before_a_kill_is_told(root: Path, undisturbed: Path) -> None:
    assert invoke(*search_args(root)).exit_code == 0
    curve = ["curve", "tiny", "--sizes", "12", "--seeds", "1", "--workspace", str(root)]
    kill_after("curve", root, *curve)
    assert invoke("sync", "tiny", "--workspace", root).exit_code == 0
    key = "curve-feature_extraction-0-12-1000"
    assert content(root, key) == content(undisturbed, key)
    assert os.listdir(root / "journal") == ["tiny.jsonl"]
