"""Slots: processes that work on a study under a supervisor, on one machine and on several."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import InvalidInputError
from frostline.search import Request, Resources, resume, run_search
from frostline.search.execution.slot_protocol import ForwardingObserver, MessagePipe, SlotJob, tell
from frostline.search.records import TrialRecord
from frostline.search.slots.engines import create_engine
from frostline.search.slots.messages import (
    EpochFinished,
    FinalCutOff,
    FinalFinished,
    FinalStarted,
    JournalEntry,
    Note,
    TrialCutOff,
    TrialFinished,
    TrialStarted,
    decode,
)
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

from ...servers import Server

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


@pytest.fixture
def space(tmp_path: Path) -> Path:
    file = tmp_path / "space.toml"
    file.write_text(SPACE.format(epochs=2))
    return file


def request(space: Path, **more: Any) -> Request:
    values = {"data": "sklearn:digits", "backbone": "squeezenet1_1", "weights": "none", "image_size": 32}
    values |= {"name": "tiny", "trials": 4, "finals_seeds": 1, "device": "cpu", "space": space, "workers": 2}
    return Request(**{**values, **more})


# What slots and supervisor say to each other


def test_calls_and_records_arrive_as_they_were_made() -> None:
    written = io.StringIO()
    line = MessagePipe(written)
    observer = ForwardingObserver(line)
    epoch = EpochResult(3, "head", 0.5, float("inf"), 0.25, {"head": 1e-3}, 0.125)
    trial = TrialRecord(7, "complete", "full", {"epochs": 3}, 0.5, {0: 0.25, 1: 0.5}, 1.5, 9, 0, None, datetime.now())
    observer.note("a note\nof two lines")
    observer.trial_started(7, "full", 3)
    observer.epoch_finished(7, epoch)
    observer.trial_finished(trial)
    observer.trial_finished(replace(trial, finished=None))
    observer.final_started("full", 1000, 1, 2)
    observer.trial_cut_off(8)
    observer.final_cut_off("full", 1000)
    line.append("start", "trial-7", name="x", params={})
    line.append("start", "trial-8", name="y", params={})
    line.append("finish", "trial-7", status="FINISHED")
    messages = [decode(each) for each in written.getvalue().splitlines()]
    calls = [message for message in messages if not isinstance(message, JournalEntry)]
    assert calls == [
        Note("a note\nof two lines"),
        TrialStarted(7, "full", 3),
        EpochFinished(7, epoch),
        TrialFinished(trial),
        TrialFinished(replace(trial, finished=None)),
        FinalStarted("full", 1000, 1, 2),
        TrialCutOff(8),
        FinalCutOff("full", 1000),
    ]
    assert messages[-1] == JournalEntry("finish", "trial-7", {"status": "FINISHED"})
    assert line.open_keys() == ["trial-8"]


def test_an_observer_hears_what_was_forwarded() -> None:
    class Heard(Observer):
        def __init__(self) -> None:
            self.calls: list[tuple[Any, ...]] = []

        def note(self, message: str) -> None:
            self.calls.append(("note", message))

        def trial_started(self, number: int, strategy: str, epochs: int) -> None:
            self.calls.append(("trial_started", number, strategy, epochs))

        def epoch_finished(self, number: int, result: EpochResult) -> None:
            self.calls.append(("epoch_finished", number, result))

        def trial_finished(self, trial: TrialRecord) -> None:
            self.calls.append(("trial_finished", trial))

        def trial_cut_off(self, number: int) -> None:
            self.calls.append(("trial_cut_off", number))

        def final_started(self, strategy: str, seed: int, place: int, total: int) -> None:
            self.calls.append(("final_started", strategy, seed, place, total))

        def final_cut_off(self, strategy: str, seed: int) -> None:
            self.calls.append(("final_cut_off", strategy, seed))

    calls = [
        ("note", "a note"),
        ("trial_started", 7, "full", 3),
        ("epoch_finished", 7, EpochResult(3, "head", 0.5, float("inf"), 0.25, {"head": 1e-3}, 0.125)),
        ("trial_finished", TrialRecord(7, "pruned", "full")),
        ("trial_cut_off", 8),
        ("final_started", "full", 1000, 1, 2),
        ("final_cut_off", "full", 1001),
    ]
    written, heard = io.StringIO(), Heard()
    forwarding = ForwardingObserver(MessagePipe(written))
    for name, *arguments in calls:
        getattr(forwarding, name)(*arguments)
    for line in written.getvalue().splitlines():
        tell(heard, decode(line))
    assert heard.calls == calls


@pytest.mark.parametrize(
    "line",
    [
        '["close", {}]',
        '["TrialCutOff", {}]',
        '["TrialCutOff", {"number": 7, "why": "x"}]',
        '["TrialCutOff", {"number": "seven"}]',
        '["TrialFinished", {"trial": {"number": 7, "state": "complete", "color": "red"}}]',
        "a line that a library printed",
    ],
)
def test_what_is_no_message_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"unknown message|validation error|Expecting value"):
        decode(line)


def test_a_message_for_the_supervisor_is_no_call_of_an_observer() -> None:
    with pytest.raises(ValueError, match="FinalFinished"):
        tell(Observer(), FinalFinished("full", 7, 1000))


@pytest.mark.parametrize("cache_bytes", [None, 0, 10**9])
def test_work_arrives_as_it_was_given(cache_bytes: int | None) -> None:
    work = SlotJob("tiny", "/workspace", None, "s3://bucket", None, "cuda", cache_bytes, 2, 1, True, Timing(lease=2.0))
    assert SlotJob.decode(work.encode()) == work
    assert "\n" not in work.encode()


# Where they run


def test_without_a_gpu_there_is_one_place_or_as_many_as_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [place.threads for place in create_engine(Resources()).places()] == [8]
    places = create_engine(Resources(workers=3)).places()
    assert [(place.device, place.threads) for place in places] == [("auto", 2)] * 3
    assert places[0].environment == {"OMP_NUM_THREADS": "2"}
    assert [place.threads for place in create_engine(Resources(workers=20)).places()] == [1] * 20


@pytest.mark.parametrize(
    ("visible", "resources", "expected"),
    [
        (None, Resources(), ["0", "1"]),
        ("3,5", Resources(), ["3", "5"]),
        ("3,5", Resources(slots_per_gpu=2), ["3", "5", "3", "5"]),
        ("3,5", Resources(workers=3), ["3", "5", "3"]),
        ("3,5", Resources("cuda:1"), None),
        ("3,5", Resources("cpu"), None),
    ],
)
def test_gpus_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, resources: Resources, expected: list[str] | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    places = create_engine(resources).places()
    if expected is None:
        assert [place.device for place in places] == [resources.device]
    else:
        assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == expected
        assert {place.device for place in places} == {"cuda"}


def test_slots_share_the_cache_budget() -> None:
    def share(resources: Resources, slots: int) -> int:
        found = create_engine(resources).share(slots)
        assert found is not None
        return found

    assert share(Resources("cpu", "200MB", 4), 4) == 200 * 10**6 // 4
    assert share(Resources("cpu", "auto", 4), 4) * 4 == pytest.approx(share(Resources("cpu"), 1), rel=0.2)
    assert share(Resources("cpu", "0"), 2) == 0


# Real processes


@pytest.mark.slow
def test_two_slots_run_a_study_to_its_verdict(tmp_path: Path, space: Path) -> None:
    observer = Notes()
    study = run_search(request(space), Workspace(tmp_path / "workspace"), observer)
    assert sorted(trial.number for trial in observer.ended) == [0, 1, 2, 3]
    assert observer.finals == 2
    assert study.results().verdict is not None
    assert [trial.state for trial in study.trials()] == ["complete"] * 4
    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    keys = [run.data.tags["frostline.key"] for run in runs]
    assert len(keys) == len(set(keys))
    assert {f"trial-{number}" for number in range(4)} <= set(keys)


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
        *("search", "sklearn:digits", "--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32"),
        *("--device", "cpu", "--name", "tiny", "--trials", str(trials), "--seeds", "1", "--space", str(space)),
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
def test_when_the_supervisor_is_killed_its_slots_end_and_a_resume_finishes_the_budget(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(epochs=6))
    workspace = Workspace(tmp_path / "workspace")
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


@pytest.mark.slow
def test_pause_resume_and_stop_from_another_process(tmp_path: Path) -> None:
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(epochs=6))
    workspace = Workspace(tmp_path / "workspace")
    with start(workspace.root, *search_arguments(space, 30)) as process:
        wait_for(lambda: finished(workspace) >= 2)
        assert command(workspace, "pause", "tiny") == 0
        wait_for(lambda: not Study.load("tiny", workspace).tickets.held())
        done = finished(workspace)
        time.sleep(2)
        assert finished(workspace) == done
        assert process.poll() is None
        assert command(workspace, "resume", "tiny") == 0
        wait_for(lambda: finished(workspace) > done)
        assert command(workspace, "stop", "tiny") == 0
        assert process.wait(60) == 130
    assert {trial.state for trial in Study.load("tiny", workspace).trials()} <= {"complete", "pruned", "waiting"}


def command(workspace: Workspace, *arguments: str) -> int:
    with start(workspace.root, *arguments) as process:
        return process.wait(60)


@pytest.fixture
def shared_url(postgres: Server) -> str:
    return postgres.create_database(f"shared{os.getpid()}_{time.monotonic_ns()}")


# Of connections that end with the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_worker_with_another_workspace_joins_and_completes_trials(tmp_path: Path, shared_url: str) -> None:
    space = tmp_path / "space.toml"
    space.write_text(SPACE.format(epochs=6))
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    here, there = tmp_path / "here", tmp_path / "there"
    leader = start(
        here, *search_arguments(space, 10), "--storage", shared_url, "--tracking-uri", tracking, "--population", "1"
    )
    try:
        wait_for(lambda: finished(Workspace(here, shared_url)) >= 1)
        with start(there, "worker", "tiny", "--storage", shared_url, "--device", "cpu") as worker:
            said, _ = worker.communicate(timeout=120)
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
