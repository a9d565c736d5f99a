"""A tracking server that is killed in mid-search and comes back: MLflow ends as if nothing had been."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.epochs import EpochResult
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.tracking.mlflow_runs import KEY
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits
from ...servers import MlflowServer, serving_mlflow

STUDY = "tiny"
SPACE = """
[shared]
epochs = 6
patience = 99
batch_size = 16

[feature_extraction]
learning_rate = 3e-3

[full]
learning_rate = 3e-3
"""
# What a clock says differs between two runs of anything.
MEASURED = {"seconds", "peak_memory_mb", "device_seconds", "latency"}


class Views(TerminalViews):
    """The server dies in an epoch of a trial, and the notes are kept."""

    def __init__(self, server: MlflowServer) -> None:
        super().__init__()
        self._server = server
        self.notes: list[str] = []

    def observer(self) -> Observer:
        server, notes = self._server, self.notes

        class Dying(Observer):
            def note(self, message: str) -> None:
                notes.append(message)

            def epoch_finished(self, number: int, result: EpochResult) -> None:
                if server.running and (number, result.epoch) == (1, 2):
                    # Some of the trial has arrived by then.
                    deadline = time.monotonic() + 60
                    while "trial-1" not in runs(server.uri):
                        assert time.monotonic() < deadline
                        time.sleep(0.1)
                    server.kill()

        return Dying()


def invoke(*args: str | Path, views: TerminalViews | None = None) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=views or TerminalViews(), prog_name="frostline")


def search(root: Path, uri: str, views: TerminalViews | None = None) -> Any:
    (root / "space.toml").write_text(SPACE)
    return invoke(
        *("search", few_digits(), "--backbone", "tiny_network:create", "--weights", "none"),
        *(
            "--image-size",
            "32",
            "--space",
            root / "space.toml",
            "--trials",
            "2",
            "--seeds",
            "2",
            "--candidates",
            "1",
            "--name",
            STUDY,
        ),
        *("--device", "cpu", "--workspace", root, "--tracking-uri", uri),
        views=views,
    )


def runs(uri: str) -> dict[str, str]:
    """Ids of the study's runs, by key."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(STUDY)
    found = client.search_runs([experiment.experiment_id]) if experiment else []
    return {run.data.tags[KEY]: run.info.run_id for run in found}


def everything(uri: str) -> dict[str, Any]:
    """All that MLflow has of the study and no clock measured, by key of the run."""
    client = MlflowClient(tracking_uri=uri)
    described = {}
    for key, run_id in runs(uri).items():
        run = client.get_run(run_id)
        history = {name: client.get_metric_history(run_id, name) for name in run.data.metrics}
        described[key] = {
            "name": run.info.run_name,
            "status": run.info.status,
            "params": run.data.params,
            "tags": {
                name: value
                for name, value in run.data.tags.items()
                if name not in ("frostline.command", "frostline.study_id", "mlflow.parentRunId", "mlflow.note.content")
            },
            "metrics": {
                name: [(point.step, None if name in MEASURED else point.value) for point in points]
                for name, points in history.items()
            },
            "files": sorted(file.path for file in client.list_artifacts(run_id)),
        }
    assert described["trial-0"]["tags"][KEY] == "trial-0"
    return described


@pytest.mark.slow
@pytest.mark.usefixtures("sender_process")
def test_a_server_killed_in_mid_search_gets_everything_once_it_is_back(tmp_path: Path) -> None:
    disturbed, undisturbed, served = (tmp_path / name for name in ("disturbed", "undisturbed", "served"))
    for folder in (disturbed, undisturbed, served):
        folder.mkdir()
    with serving_mlflow(served) as server:
        views = Views(server)
        result = search(disturbed, server.uri, views)
        assert result.exit_code == 0, result.output
        assert len([note for note in views.notes if "does not answer" in note and "frostline sync" in note]) == 1
        assert len(Study.load(STUDY, Workspace(disturbed)).final_records()) == 4

        refused = invoke("sync", STUDY, "--workspace", disturbed)
        assert refused.exit_code == 1
        assert "Nothing is lost" in refused.stderr

        server.start()
        sent = invoke("sync", STUDY, "--workspace", disturbed)
        assert sent.exit_code == 0, sent.output
        assert "records uploaded" in sent.stdout
        assert "MLflow is up to date" in invoke("sync", "--workspace", disturbed).stdout
        found = everything(server.uri)
        registered = MlflowClient(tracking_uri=server.uri).get_registered_model(STUDY).aliases
        assert "champion" in registered
        versions = MlflowClient(tracking_uri=server.uri).search_model_versions(f"name = '{STUDY}'")
        assert {version.version for version in versions} == set(registered.values())
        assert [str(version.source)[:10] for version in versions] == ["models:/m-"] * len(versions)
        assert len(versions) == len(registered) - 1

    # The other search writes to a copy of the server's database without its runs being touched: one of its own.
    own = undisturbed / "own.db"
    shutil.copy(served / "mlflow.db", own)
    client = MlflowClient(tracking_uri=f"sqlite:///{own}")
    experiment = client.get_experiment_by_name(STUDY)
    assert experiment is not None
    client.rename_experiment(experiment.experiment_id, "another")
    client.rename_registered_model(STUDY, "another")
    result = search(undisturbed, f"sqlite:///{own}")
    assert result.exit_code == 0, result.output
    expected = everything(f"sqlite:///{own}")
    assert found.keys() == expected.keys()
    assert {run["status"] for run in found.values()} == {"FINISHED"}
    for key in expected:
        assert found[key] == expected[key], key
