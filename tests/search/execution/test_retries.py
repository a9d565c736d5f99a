"""Failures are data: what a trial does about errors, and what the study and MLflow know of it afterwards."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from torch import Tensor

from frostline.objectives import devices
from frostline.objectives.errors import DeviceLostError, InvalidInputError, TrainingFailedError
from frostline.objectives.networks.network import Network
from frostline.search.execution import run_search, trials
from frostline.search.execution.retries import run_with_retries
from frostline.search.execution.started_trial import MAX_INTERRUPTIONS
from frostline.search.records import read_finalist
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.prepare import prepare_search
from frostline.search.study.study import Study
from frostline.storage.errors import LeaseLostError, StorageError
from frostline.storage.tracking.mlflow_runs import KEY
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

CPU = torch.device("cpu")
SPACE = """
[shared]
epochs = 3
patience = 99
batch_size = 16
learning_rate = { low = 1e-3, high = 1e-2, log = true, default = 3e-3 }
[feature_extraction]
[partial]
freeze_depth = -1
"""


def request(folder: Path, **more: Any) -> Request:
    space = folder / "space.toml"
    space.write_text(SPACE)
    values = {"data": few_digits(), "backbone": "tiny_network:create", "weights": "none", "image_size": 32}
    values |= {"name": "tiny", "trials": 6, "finals_seeds": 1, "candidates": 1, "device": "cpu", "space": space}
    return Request(**{**values, **more})


class Watch(Observer):
    """Knows which training is under way, and what was said."""

    def __init__(self) -> None:
        self.training: int | str = -1
        self.notes: list[str] = []
        self.batches: Counter[int | str] = Counter()

    def note(self, message: str) -> None:
        self.notes.append(message)

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self.training = number

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        self.training = f"final {read_finalist(finalist)[0]}"


def flaky(watch: Watch, images: int) -> None:
    """What goes wrong in which trial: see the fixture."""
    watch.batches[watch.training] += 1
    batch = watch.batches[watch.training]
    if watch.training == 1 and batch == 5:
        raise RuntimeError("the cable came loose")
    if watch.training == 2:
        raise ValueError("always\nthe same")
    if watch.training == 3 and images > 8:
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")
    if watch.training == 4:
        raise torch.OutOfMemoryError("Tried to allocate 9.00 GiB.")
    if watch.training == "final partial" and batch == 2:
        raise OSError("stale file handle")


@dataclass(frozen=True)
class Told:
    study: Study
    watch: Watch
    runs: dict[str, Run]
    texts: Callable[[Run, str], str]


@pytest.fixture
def root(tmp_path: Path, tracking_database: Path) -> Path:
    shutil.copy(tracking_database, tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, mlflow_records: None) -> Iterator[Told]:
    """Trial 1 fails once, 2 always, 3 has memory for half a batch, 4 for none; and a final fails once."""
    folder, watch, classify = tmp_path_factory.mktemp("flaky"), Watch(), Network.classify

    def guarded(network: Network, features: Tensor) -> Tensor:
        if network.head.training:
            flaky(watch, len(features))
        return classify(network, features)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "classify", guarded)
        study = run_search(request(folder), Workspace(folder), watch)
    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags[KEY] for run in runs}) == len(runs)

    def text(run: Run, file: str) -> str:
        return Path(client.download_artifacts(run.info.run_id, file, str(folder))).read_text()

    yield Told(study, watch, {run.data.tags[KEY]: run for run in runs}, text)
    study.close()


def test_every_trial_counts_once_whatever_became_of_it(told: Told) -> None:
    states = [trial.state for trial in told.study.trials()]
    assert [states[number] for number in (2, 4)] == ["failed", "failed"]
    assert {states[number] for number in (0, 1, 3, 5)} <= {"complete", "pruned"}
    assert told.study.results().verdict is not None


def test_a_retry_ends_as_if_nothing_had_been(told: Told, root: Path) -> None:
    trial, outcome, run = told.study.trial(1), told.study.outcome(1), told.runs["trial-1"]
    assert "trial 1 failed (RuntimeError: the cable came loose) and is retried" in told.watch.notes
    assert outcome["retries"] == run.data.metrics["retries"] == 1
    assert run.info.status == "FINISHED"
    text = told.texts(run, "traceback.txt")
    assert text.startswith("Traceback (most recent call last):")
    assert text.endswith("RuntimeError: the cable came loose\n")
    assert "flaky(" in text
    undisturbed = run_search(request(root, trials=2), Workspace(root)).trial(1)
    assert (trial.config, trial.curve, trial.score) == (undisturbed.config, undisturbed.curve, undisturbed.score)


def test_what_fails_every_time_is_failed_with_its_traceback(told: Told) -> None:
    trial, outcome, run = told.study.trial(2), told.study.outcome(2), told.runs["trial-2"]
    assert told.watch.batches[2] == 2
    assert (trial.reason, outcome["retries"]) == ("ValueError: always", 1)
    assert (run.info.status, run.data.tags["reason"]) == ("FAILED", "ValueError: always")
    assert told.texts(run, "traceback.txt").endswith("ValueError: always\nthe same\n")


def test_half_a_batch_is_recorded(told: Told) -> None:
    outcome, run = told.study.outcome(3), told.runs["trial-3"]
    assert outcome["micro_batch"] == run.data.metrics["micro_batch"] == 8
    assert "retries" not in outcome
    assert "trial 3 ran out of memory and continues with micro-batches of 8" in told.watch.notes
    assert "micro_batch" not in told.study.outcome(0)


def test_what_does_not_fit_in_halves_fails_and_is_not_tried_again(told: Told) -> None:
    trial = told.study.trial(4)
    assert told.watch.batches[4] == 2
    assert trial.reason == "needs more memory than the device has at micro-batch 8: Tried to allocate 9.00 GiB."
    assert "retries" not in told.study.outcome(4)


def test_finals_are_tried_again_too(told: Told) -> None:
    assert any("failed (OSError: stale file handle) and is retried" in note for note in told.watch.notes)
    assert {final.strategy for final in told.study.final_records()} == {"feature_extraction", "partial"}


def test_a_population_without_room_trains_one_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_many(*arguments: Any, **more: Any) -> None:
        raise torch.OutOfMemoryError("Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(trials, "finetune_together", too_many)
    watch = Watch()
    wanted = request(root, strategies=("feature_extraction",), trials=4, population=4)
    study = run_search(wanted, Workspace(root), watch)
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    (note,) = [note for note in watch.notes if "together" in note]
    assert "cannot be trained together (OutOfMemoryError: Tried to allocate 2.00 GiB.)" in note


@pytest.fixture
def dead_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CUDA does after a failed assertion: it refuses all further work."""
    monkeypatch.setattr(devices, "_works", lambda device: False)


def asserting(monkeypatch: pytest.MonkeyPatch, watch: Watch, training: int | str) -> None:
    """A kernel's assertion fails in a training, each time."""
    classify = Network.classify

    def failing(network: Network, features: Tensor) -> Tensor:
        if network.head.training and watch.training == training:
            watch.batches[training] += 1
            raise torch.AcceleratorError("CUDA error: device-side assert triggered\nCUDA kernel errors might be")
        return classify(network, features)

    monkeypatch.setattr(Network, "classify", failing)


@pytest.mark.usefixtures("dead_device")
def test_who_loses_the_device_ends_and_the_next_process_tries_again(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, watch = request(root, trials=3), Watch()
    asserting(monkeypatch, watch, 1)
    for _ in range(2):
        with pytest.raises(DeviceLostError, match=r"\(CUDA error: device-side assert triggered\).* frostline resume"):
            run_search(wanted, Workspace(root), watch)
    study = run_search(wanted, Workspace(root), watch)
    # It is never tried twice by a process, and not for ever.
    assert watch.batches[1] == 2
    assert study.trial(1).state == "failed"
    assert study.trial(1).reason == "AcceleratorError: CUDA error: device-side assert triggered"
    assert study.outcome(1)["retries"] == 1
    assert {study.trial(number).state for number in (0, 2)} <= {"complete", "pruned"}
    study.close()


@pytest.mark.slow
@pytest.mark.usefixtures("dead_device")
def test_after_a_population_lost_the_device_only_the_trial_that_does_it_again_fails(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, watch = request(root, strategies=("feature_extraction",), trials=3, population=3), Watch()
    calls = []

    def lost(*arguments: Any, **more: Any) -> None:
        calls.append(1)
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(trials, "finetune_together", lost)
    asserting(monkeypatch, watch, 1)
    for _ in range(2):
        with pytest.raises(DeviceLostError):
            run_search(wanted, Workspace(root), watch)
    study = run_search(wanted, Workspace(root), watch)
    assert len(calls) == 1
    assert study.trial(1).state == "failed"
    assert {study.trial(number).state for number in (0, 2)} <= {"complete", "pruned"}
    assert [study.outcome(number)["retries"] for number in range(3)] == [1] * 3
    study.close()


@pytest.mark.slow  # As a trial that loses its device, which is quick.
@pytest.mark.usefixtures("dead_device")
def test_a_final_that_loses_its_device_again_and_again_ends_with_the_reason(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, watch = request(root, trials=2), Watch()
    asserting(monkeypatch, watch, "final partial")
    for _ in range(MAX_INTERRUPTIONS):
        with pytest.raises(DeviceLostError, match=r"\(CUDA error: device-side assert triggered\).* frostline resume"):
            run_search(wanted, Workspace(root), watch)
    study = run_search(wanted, Workspace(root), watch)
    assert watch.batches["final partial"] == MAX_INTERRUPTIONS
    failed = [trial for trial in study.trials() if trial.final_failed]
    assert [trial.strategy for trial in failed] == ["partial"]
    assert "device-side assert triggered" in str(failed[0].final_failed)
    assert [record.strategy for record in study.final_records()] == ["feature_extraction"]
    study.close()


def test_a_final_that_fails_in_two_processes_gives_its_place_to_the_next_best(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, watch, classify = request(root, trials=2), Watch(), Network.classify

    def failing(network: Network, features: Tensor) -> Tensor:
        if network.head.training and watch.training == "final partial":
            raise ValueError("never in a final")
        return classify(network, features)

    monkeypatch.setattr(Network, "classify", failing)
    with pytest.raises(TrainingFailedError, match=r"failed: ValueError: never in a final\. .* frostline resume tiny"):
        run_search(wanted, Workspace(root), watch)
    study = run_search(wanted, Workspace(root), watch)
    reasons = [trial.final_failed for trial in study.trials() if trial.strategy == "partial"]
    assert reasons == ["ValueError: never in a final"]
    assert [record.strategy for record in study.final_records()] == ["feature_extraction"]
    study.close()


@pytest.mark.parametrize("training", [1, pytest.param("final partial", marks=pytest.mark.slow)])
def test_a_disk_that_refuses_stops_the_search_and_fails_no_training(
    training: int | str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, watch, classify = request(root, trials=2), Watch(), Network.classify

    def full(network: Network, features: Tensor) -> Tensor:
        if network.head.training and watch.training == training:
            raise OSError(errno.ENOSPC, "No space left on device", "views.npy")
        return classify(network, features)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "classify", full)
        with pytest.raises(StorageError, match=r"No space left on device: views\.npy\. .* frostline resume"):
            run_search(wanted, Workspace(root), watch)
    study = run_search(wanted, Workspace(root), watch)
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    assert len(study.final_records()) == 2
    study.close()


def test_an_accelerators_error_after_which_it_works_is_like_any_other() -> None:
    failing = Failing(torch.AcceleratorError("CUDA error: invalid configuration argument"))
    assert run_with_retries(failing, 1, failing.told.append, CPU) == 7


def test_trials_of_a_population_that_died_train_one_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(root, strategies=("feature_extraction",), trials=3, population=3)
    prepare_search(wanted, Workspace(root), Observer()).study.close()
    with closing(sqlite3.connect(root / "studies.db")) as connection, connection:
        connection.execute("UPDATE frostline_tickets SET owner = 'far/0.0/7/1/abc', expires = 0 WHERE number < 2")
    together = []
    monkeypatch.setattr(trials, "finetune_together", lambda *arguments, **more: together.append(1))
    study = run_search(wanted, Workspace(root))
    assert not together
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    study.close()


@pytest.mark.slow  # The attempts of a trial alone are quick.
def test_a_member_of_a_population_has_its_attempts_too(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, watch = request(root, strategies=("feature_extraction",), trials=3, population=3), Watch()
    together = trials.finetune_together

    def flawed(*arguments: Any, **more: Any) -> list[Any]:
        first, _, last = together(*arguments, **more)
        return [first, OSError("stale file handle"), last]

    monkeypatch.setattr(trials, "finetune_together", flawed)
    study = run_search(wanted, Workspace(root), watch)
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}
    assert "trial 1 failed (OSError: stale file handle) and is retried" in watch.notes
    assert study.outcome(1)["retries"] == 1
    assert "retries" not in study.outcome(0)
    study.close()


# The attempts themselves


class Failing:
    """Raises these errors, one a call, then gives 7."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.told: list[Exception] = []

    def __call__(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 7


@pytest.mark.parametrize("retries", [0, 2])
def test_no_more_retries_than_allowed(retries: int) -> None:
    failing = Failing(*(OSError(str(number)) for number in range(9)))
    with pytest.raises(OSError, match=str(retries)):
        run_with_retries(failing, retries, failing.told.append, CPU)
    assert [str(error) for error in failing.told] == [str(number) for number in range(retries)]
    assert run_with_retries(Failing(OSError("once")), 1, failing.told.append, CPU) == 7


@pytest.mark.parametrize(
    "error", [InvalidInputError("no such depth"), TrainingFailedError("loss is nan"), LeaseLostError([1])], ids=str
)
def test_what_would_come_again_is_not_tried_again(error: Exception) -> None:
    failing = Failing(error)
    with pytest.raises(type(error)):
        run_with_retries(failing, 3, failing.told.append, CPU)
    assert failing.told == []


@pytest.mark.usefixtures("dead_device")
def test_a_process_does_not_try_again_on_a_device_that_it_has_lost() -> None:
    failing = Failing(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    with pytest.raises(DeviceLostError):
        run_with_retries(failing, 3, failing.told.append, CPU)
    assert len(failing.told) == 1


def test_fewer_than_no_retries_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="--retries must be at least 0, got -1"):
        run_search(request(tmp_path, retries=-1), Workspace(tmp_path / "workspace"))
