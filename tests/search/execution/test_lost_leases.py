"""Whose a training is: who lost its lease writes nothing more of it; who has its network hands it over."""

from __future__ import annotations

import math
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from frostline.objectives.epochs import EpochResult
from frostline.search.doctor.doctor import check_study
from frostline.search.execution.run import join, resume, run_search
from frostline.search.slots.resources import Resources
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import prepare_search
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.storage.database import leases
from frostline.storage.timing import Timing
from frostline.storage.tracking.tracker import StudyTracker
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

EPOCHS, CUT = 4, 2
SPACE = f"""
[full]
epochs = {EPOCHS}
patience = 99
batch_size = 16
learning_rate = 3e-3
"""


def tiny(folder: Path) -> Request:
    (folder / "space.toml").write_text(SPACE)
    return Request(
        *(few_digits(), "tiny_network:create", "none", 32),
        trials=1,
        finals_seeds=1,
        candidates=1,
        name="tiny",
        space=folder / "space.toml",
        device="cpu",
    )


class Thief(Observer):
    """Has another worker take a trial and a final, each in its third epoch, while this one sleeps; then lets go."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kind = "trial"
        self.slept = 0.0
        # By kind: files of checkpoints when it was taken, and when this worker noticed.
        self.taken: dict[str, dict[str, bytes]] = {}
        self.noticed: dict[str, dict[str, bytes]] = {}
        self.epochs: dict[str, list[int]] = {"trial": [], "final": []}

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        self._kind = "final"

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self.epochs[self._kind].append(result.epoch)
        if result.epoch == CUT and self._kind not in self.taken:
            self._set("owner = 'far/0.0/7/1/abc', token = token + 1, expires = 9e9")
            self.slept += 1000.0
            self.taken[self._kind] = self._files()

    def note(self, message: str) -> None:
        if "taken over by another worker" in message:
            self.noticed[self._kind] = self._files()
            self._set("owner = NULL, expires = NULL")

    def _set(self, what: str) -> None:
        with closing(sqlite3.connect(self._workspace.root / "studies.db", timeout=60)) as connection, connection:
            connection.execute(f"UPDATE frostline_tickets SET {what} WHERE kind = '{self._kind}'")

    def _files(self) -> dict[str, bytes]:
        kept = self._workspace.root / "checkpoints"
        files = [*kept.rglob("*"), *(self._workspace.root / "models").rglob("*")]
        return {str(file): file.read_bytes() for file in files if file.is_file()}


@pytest.mark.usefixtures("mlflow_records")
def test_a_worker_whose_lease_was_taken_writes_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    each_epoch = Timing(checkpoint=0.0, checkpoint_share=math.inf)
    workspace, clock = Workspace(tmp_path / "ws", timing=each_epoch), leases._clock
    thief = Thief(workspace)
    monkeypatch.setattr(leases, "_clock", lambda: clock() + thief.slept)
    study = run_search(tiny(tmp_path), workspace, thief)
    for kind in ("trial", "final"):
        assert thief.taken[kind], "there was a checkpoint to go on from"
        assert thief.noticed[kind] == thief.taken[kind]
        # It was noticed at once, and gone on with from the checkpoint before.
        assert thief.epochs[kind] == [*range(CUT + 1), *range(CUT, EPOCHS)]
    assert [trial.state for trial in study.trials()] == ["complete"]
    assert len(study.final_records()) == 1
    assert check_study(study).problems == []
    study.close()


class Watch(Observer):
    """Sees, in a trial's second epoch, what its next worker would find."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.lapses = -1
        self.kept: list[str] = []

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        if result.epoch == 1 and self.lapses < 0:
            study = Study.load("tiny", self._workspace)
            [held] = study.tickets.held()
            self.lapses = held.lapses
            self.kept = [file.name for file in self._workspace.checkpoints("tiny").glob("trial-0/*/*")]
            study.close()


def test_a_trial_whose_worker_died_is_kept_from_its_next_epoch_on_and_may_lose_another(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "ws")
    prepare_search(tiny(tmp_path), workspace, Observer()).study.close()
    with closing(sqlite3.connect(workspace.root / "studies.db")) as connection, connection:
        connection.execute("UPDATE frostline_tickets SET owner = 'far/0.0/7/1/abc', expires = 0")
    watch = Watch(workspace)
    run_search(tiny(tmp_path), workspace, watch).close()
    assert watch.kept == ["latest"]
    assert watch.lapses == 0


def test_a_trial_that_twice_took_its_worker_with_it_has_failed(tmp_path: Path) -> None:
    workspace, wanted = Workspace(tmp_path / "ws"), replace(tiny(tmp_path), trials=2)
    prepare_search(wanted, workspace, Observer()).study.close()
    with closing(sqlite3.connect(workspace.root / "studies.db")) as connection, connection:
        gone = "UPDATE frostline_tickets SET owner = 'far/0.0/7/1/abc', expires = 0, lapses = 1 WHERE number = 0"
        connection.execute(gone)
    study = run_search(wanted, workspace)
    assert [trial.state for trial in study.trials()] == ["failed", "complete"]
    assert "This training crashed 2 workers" in (study.trial(0).reason or "")
    study.close()


@pytest.mark.usefixtures("mlflow_records")
def test_what_was_lost_of_a_trials_end_with_a_supervisor_is_told_by_the_next(
    tmp_path: Path, sender_in_process: Any
) -> None:
    workspace = Workspace(tmp_path / "ws")
    study = run_search(tiny(tmp_path), workspace)

    def trial_run() -> Run:
        client = MlflowClient(tracking_uri=workspace.tracking_url)
        experiment = client.get_experiment_by_name("tiny")
        assert experiment is not None
        [run] = client.search_runs([experiment.experiment_id], "tags.`frostline.key` = 'trial-0'")
        return run

    name = trial_run().info.run_name
    # As if it had been cut off, and nothing had come of what its next worker said.
    with closing(StudyTracker(None, workspace, study.mark, {}, print, sender_in_process)) as tracker:
        tracker.run("trial-0", "000 full", {}, {}).finish("KILLED")
    assert trial_run().info.status == "KILLED"
    resume("tiny", workspace, resources=Resources("cpu")).close()
    run = trial_run()
    assert (run.info.status, run.info.run_name) == ("FINISHED", name)
    assert check_study(study).problems == []
    study.close()


@pytest.mark.usefixtures("mlflow_records")
@pytest.mark.slow
def test_finals_trained_elsewhere_become_models(tmp_path: Path) -> None:
    storage, tracking = f"sqlite:///{tmp_path / 'shared.db'}", f"sqlite:///{tmp_path / 'mlflow.db'}"
    here, there = Workspace(tmp_path / "here", storage), Workspace(tmp_path / "there", storage)
    study = prepare_search(replace(tiny(tmp_path), tracking_uri=tracking), here, Observer()).study
    join("tiny", there, Observer(), resources=Resources("cpu"))
    aliases = MlflowClient(tracking_uri=tracking).get_registered_model("tiny").aliases
    assert aliases.keys() == {"champion", "strategy-full"}
    assert not here.models("tiny").exists()
    # Nor does who began it, and has no network, take them away.
    resume("tiny", here, resources=Resources("cpu")).close()
    assert MlflowClient(tracking_uri=tracking).get_registered_model("tiny").aliases == aliases
    assert check_study(study).problems == []
    study.close()
