"""Slots: processes that work on a study under a supervisor, on one machine and on several."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews
from frostline.objectives import devices
from frostline.objectives.errors import InvalidInputError, TrainingFailedError
from frostline.objectives.networks.network import Network
from frostline.search.cli.main import app
from frostline.search.execution import resume, run_search, slot
from frostline.search.execution.slot_protocol import MessagePipe, SlotJob
from frostline.search.records import TrialRecord
from frostline.search.slots import Resources
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.database.tickets import ActiveLease
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits
from ...servers import Server

pytestmark = pytest.mark.usefixtures("mlflow_records")

COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"
SPACE = """
[shared]
epochs = {epochs}
patience = {epochs}
[feature_extraction]
[full]
"""


class Notes(Observer):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.ended: list[TrialRecord] = []
        self.finals = 0

    def note(self, message: str) -> None:
        self.notes.append(message)

    def trial_finished(self, trial: TrialRecord) -> None:
        self.ended.append(trial)

    def final_finished(self, final: object) -> None:
        self.finals += 1


def request(space: Path, **more: Any) -> Request:
    values = {"data": "sklearn:digits", "backbone": "squeezenet1_1", "weights": "none", "image_size": 32}
    values |= {
        "name": "tiny",
        "trials": 4,
        "finals_seeds": 1,
        "candidates": 1,
        "device": "cpu",
        "space": space,
        "workers": 2,
    }
    return Request(**{**values, **more})


# Slots as threads: the supervisor, its messages and the slot's program, without what a process costs


@pytest.fixture
def threads(tmp_path: Path, tracking_database: Path, thread_engine: str) -> Request:
    """A request of four short trials in a workspace with an empty MLflow database."""
    shutil.copy(tracking_database, tmp_path)
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(epochs=2))
    quick = {"data": few_digits(), "backbone": "tiny_network:create", "engine": thread_engine}
    return request(space, **quick)


def assert_one_run_each(workspace: Workspace, trials: int) -> None:
    """In MLflow each trial has one run, and all runs are finished."""
    client = MlflowClient(tracking_uri=workspace.tracking_url)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    keys = [run.data.tags["frostline.key"] for run in runs]
    assert len(keys) == len(set(keys))
    assert {f"trial-{number}" for number in range(trials)} <= set(keys)


@pytest.mark.slow  # A slot that dies and restarts, and two workers in the finals, are quick.
def test_two_slots_run_a_study_to_its_verdict(tmp_path: Path, threads: Request) -> None:
    observer = Notes()
    study = run_search(threads, Workspace(tmp_path), observer)
    assert sorted(trial.number for trial in observer.ended) == [0, 1, 2, 3]
    assert observer.finals == 2
    assert study.results().verdict is not None
    assert [trial.state for trial in study.trials()] == ["complete"] * 4
    assert_one_run_each(study.workspace, 4)


def test_a_slot_that_dies_restarts_and_no_trial_is_lost_or_doubled(
    tmp_path: Path, threads: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, classify, lost = Notes(), Network.classify, iter([True])

    def failing(network: Network, features: torch.Tensor) -> torch.Tensor:
        if observer.ended and next(lost, False):
            raise torch.AcceleratorError("CUDA error: device-side assert triggered")
        return classify(network, features)

    monkeypatch.setattr(Network, "classify", failing)
    # What CUDA does after a failed assertion: it refuses all further work of the process.
    monkeypatch.setattr(devices, "_works", lambda device: False)
    study = run_search(replace(threads, workers=1), Workspace(tmp_path, timing=Timing(restart=0.0)), observer)
    [ended] = [note for note in observer.notes if note.startswith("slot ")]
    assert re.fullmatch(r"slot 0 ended \(.*DeviceLostError: .*device-side assert triggered.*\) and restarts", ended)
    assert sorted(trial.number for trial in observer.ended) == [0, 1, 2, 3]
    assert [trial.state for trial in study.trials()] == ["complete"] * 4
    assert study.results().verdict is not None


def test_slots_that_keep_failing_are_given_up_and_the_search_says_why(
    tmp_path: Path, threads: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts: list[SlotJob] = []

    def failing(work: SlotJob, line: MessagePipe) -> None:
        starts.append(work)
        raise OSError("the disk is gone")

    monkeypatch.setattr(slot, "run_slot", failing)
    observer, workspace = Notes(), Workspace(tmp_path, timing=Timing(restart=0.0))
    with pytest.raises(TrainingFailedError) as failed:
        run_search(threads, workspace, observer)
    assert str(failed.value).splitlines() == [
        "No slot of study 'tiny' stays alive. Fix the cause, then resume: "
        f"frostline resume tiny --workspace {tmp_path}",
        "OSError: the disk is gone",
    ]
    assert len(starts) == 2 * 3
    assert {work.timing for work in starts} == {workspace.timing}
    assert sorted(note for note in observer.notes if "ended" in note) == [
        f"slot {number} ended (OSError: the disk is gone) and restarts" for number in (0, 0, 1, 1)
    ]
    assert sorted(note for note in observer.notes if "not restarted" in note) == [
        f"slot {number} keeps failing and is not restarted: OSError: the disk is gone; "
        f"its log: {workspace.logs / f'tiny-slot-{number}.log'}"
        for number in (0, 1)
    ]


def invoke(*arguments: str | Path, views: TerminalViews | None = None) -> int:
    return CliRunner().invoke(app, [str(each) for each in arguments], obj=views or TerminalViews()).exit_code


class Commanding(Observer):
    """Types commands while a study is searched: pause after two trials, resume once it is paused, then stop."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._trials = 0
        self.codes: dict[str, int] = {}
        self.held: list[ActiveLease] | None = None
        # Trials that were done when the study was paused, some time later, and when a trial ended after that.
        self.done: list[int] = []

    def trial_finished(self, trial: TrialRecord) -> None:
        self._trials += 1
        if self._trials == 2:
            self._type("pause")
        elif "resume" in self.codes and "stop" not in self.codes:
            self.done.append(finished(self._workspace))
            self._type("stop")

    def note(self, message: str) -> None:
        if message.startswith("paused; resume with: frostline resume tiny"):
            study = Study.load("tiny", self._workspace)
            self.held = study.tickets.held()
            study.close()
            self.done.append(finished(self._workspace))
            time.sleep(0.5)
            self.done.append(finished(self._workspace))
            self._type("resume")

    def _type(self, command: str) -> None:
        self.codes[command] = invoke(command, "tiny", "--workspace", self._workspace.root)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("engine", ["threads", pytest.param("local", marks=pytest.mark.slow)])
def test_pause_resume_and_stop_by_other_commands(tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROSTLINE_LEASE_SECONDS", "0.4")
    commanding = Commanding(Workspace(tmp_path))

    class Views(TerminalViews):
        def observer(self) -> Observer:
            return commanding

    search = search_arguments(tmp_path / "space.toml", 30)
    assert invoke(*search, "--engine", engine, "--workspace", tmp_path, views=Views()) == 130
    assert commanding.codes == {"pause": 0, "resume": 0, "stop": 0}
    assert commanding.held == []
    paused, later, continued = commanding.done
    assert later == paused >= 2
    assert continued > paused
    study = Study.load("tiny", Workspace(tmp_path))
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned", "waiting"}
    assert finished(Workspace(tmp_path)) < 30
    study.close()


# Real processes


def start(workspace: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "FROSTLINE_LEASE_SECONDS": "2"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--workspace", str(workspace)],
        env={**os.environ, **own, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Any, seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.2)


def search_arguments(space: Path, trials: int) -> list[str]:
    return [
        *("search", few_digits(), "--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32"),
        *(
            "--device",
            "cpu",
            "--name",
            "tiny",
            "--trials",
            str(trials),
            "--seeds",
            "1",
            "--candidates",
            "1",
            "--space",
            str(space),
        ),
    ]


def finished(workspace: Workspace) -> int:
    """Trials that are done."""
    try:
        study = Study.load("tiny", workspace)
    except InvalidInputError:
        return 0
    done = study.tickets.counts()[1]
    study.close()
    return done


@pytest.mark.slow
def test_when_the_supervisor_is_killed_its_slots_end_and_a_resume_finishes_the_budget(
    tmp_path: Path, tracking_database: Path
) -> None:
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(epochs=60))
    workspace = Workspace(tmp_path / "workspace")
    workspace.root.mkdir()
    shutil.copy(tracking_database, workspace.root)
    with start(workspace.root, *search_arguments(space, 8), "--workers", "2") as process:
        wait_for(lambda: finished(workspace) >= 2)
        slots = subprocess.run(
            ["pgrep", "-P", str(process.pid), "-f", "frostline.search.execution.slot"], capture_output=True, text=True
        ).stdout.split()
        assert len(slots) == 2
        process.kill()
    wait_for(lambda: not any(Path(f"/proc/{slot}").exists() for slot in slots), 30)
    study = resume("tiny", workspace, resources=Resources("cpu", workers=2))
    assert [trial.number for trial in study.trials()] == list(range(8))
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    assert study.results().verdict is not None
    assert_one_run_each(workspace, 8)


@pytest.fixture
def shared_url(postgres: Server) -> str:
    return postgres.create_database(f"shared{os.getpid()}_{time.monotonic_ns()}")


# Of connections that end with the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_worker_with_another_workspace_joins_and_completes_trials(
    tmp_path: Path, shared_url: str, tracking_database: Path
) -> None:
    space = tmp_path / "space.toml"
    # The leader's trials last longer than a worker takes to start.
    space.write_text(SPACE.format(epochs=200))
    tracking = f"sqlite:///{shutil.copy(tracking_database, tmp_path)}"
    here, there = tmp_path / "here", tmp_path / "there"
    leader = start(
        here, *search_arguments(space, 10), "--storage", shared_url, "--tracking-uri", tracking, "--population", "1"
    )
    try:
        wait_for(lambda: finished(Workspace(here, shared_url)) >= 1)
        with start(there, "worker", "tiny", "--storage", shared_url, "--device", "cpu") as worker:
            said, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0, said
        assert leader.wait(120) == 0
    finally:
        leader.send_signal(signal.SIGTERM)
        leader.communicate()
    study = Study.load("tiny", Workspace(here, shared_url))
    assert [trial.number for trial in study.trials()] == list(range(10))
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    assert 1 <= said.count(" complete ") + said.count(" pruned ") < 10
    assert "Study tiny has no work left." in said
    assert study.results().verdict is not None
    client = MlflowClient(tracking_uri=tracking)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    keys = [run.data.tags["frostline.key"] for run in client.search_runs([experiment.experiment_id])]
    assert len(keys) == len(set(keys))
    assert {f"trial-{number}" for number in range(10)} <= set(keys)
    study.close()
