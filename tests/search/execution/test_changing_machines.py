"""A trial that changes machines goes on from its checkpoint where both reach it, to the same numbers."""

from __future__ import annotations

import math
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from mlflow import MlflowClient

from frostline.objectives.epochs import EpochResult
from frostline.objectives.errors import InvalidInputError
from frostline.search.execution import resume, run_search
from frostline.search.execution.run import SearchInterrupted, join
from frostline.search.slots import Resources
from frostline.search.study import Request
from frostline.search.study.observer import Observer
from frostline.search.study.study import Study
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits
from ...servers import Server

COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"
SPACE = """
[shared]
epochs = {epochs}
patience = 99
batch_size = 16
[feature_extraction]
[partial]
freeze_depth = {depth}
"""
DATA = [few_digits(), "--backbone", "tiny_network:create", "--weights", "none", "--image-size", "32"]


class Watch(Observer):
    """Cuts the search off in an epoch of a trial; knows what was said."""

    def __init__(self, stop: tuple[int, int] | None = None) -> None:
        self.notes: list[str] = []
        self.epochs: list[tuple[int, int]] = []
        self._stop = stop

    def note(self, message: str) -> None:
        self.notes.append(message)

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self.epochs.append((number, result.epoch))
        if (number, result.epoch) == self._stop:
            raise KeyboardInterrupt


def write_space(folder: Path, epochs: int, depth: int) -> Path:
    file = folder / "space.toml"
    file.write_text(SPACE.format(epochs=epochs, depth=depth))
    return file


@pytest.fixture
def machines(tmp_path: Path, tracking_database: Path) -> Path:
    """A folder for workspaces, the database, MLflow's and what is shared."""
    shutil.copy(tracking_database, tmp_path)
    return tmp_path


def request(machines: Path, **more: Any) -> Request:
    values = {"data": DATA[0], "backbone": DATA[2], "weights": "none", "image_size": 32, "name": "tiny", "trials": 2}
    values |= {"finals_seeds": 1, "candidates": 1, "device": "cpu", "space": write_space(machines, 4, -1)}
    return Request(**{**values, "tracking_uri": f"sqlite:///{machines / 'mlflow.db'}", **more})


def workspace(machines: Path, name: str, artifacts: str | None = None) -> Workspace:
    """A machine's workspace, where checkpoints are kept after each epoch."""
    each_epoch = Timing(checkpoint=0.0, checkpoint_share=math.inf)
    return Workspace(machines / name, f"sqlite:///{machines / 'studies.db'}", artifacts, each_epoch)


@pytest.mark.parametrize("kind", ["memory", pytest.param("file", marks=pytest.mark.slow)])
def test_what_one_machine_began_another_ends(machines: Path, kind: str) -> None:
    url = f"memory://{secrets.token_hex(8)}" if kind == "memory" else f"file://{machines / 'shared'}"
    with pytest.raises(SearchInterrupted):
        run_search(request(machines), workspace(machines, "here", url), Watch((1, 2)))
    assert not (machines / "here" / "checkpoints").exists()
    watch = Watch()
    join("tiny", workspace(machines, "there"), watch, resources=Resources("cpu"))
    assert "trial 1 resumed from epoch 2" in watch.notes
    assert watch.epochs[0] == (1, 2)
    files, path = fsspec.url_to_fs(url)
    assert files.find(path) == []

    moved = Study.load("tiny", workspace(machines, "there"))
    assert moved.artifacts_url == url
    undisturbed = run_search(request(machines, name="undisturbed"), Workspace(machines / "undisturbed"))
    for number in range(2):
        ours, theirs = moved.trial(number), undisturbed.trial(number)
        assert (ours.state, ours.config, ours.curve, ours.score) == (
            (theirs.state, theirs.config, theirs.curve, theirs.score)
        )
    # The finals have seeds of their own, and were not cut off.
    assert [final.test_score for final in moved.final_records()] == [
        final.test_score for final in undisturbed.final_records()
    ]


def test_a_worker_may_reach_the_place_by_another_path(machines: Path) -> None:
    with pytest.raises(SearchInterrupted):
        run_search(request(machines), workspace(machines, "here", str(machines / "shared")), Watch((1, 2)))
    # As it is mounted there.
    (machines / "shared").rename(machines / "mounted")
    with pytest.raises(InvalidInputError, match=r"Cannot save checkpoints in \S*/shared/x: there is no folder"):
        join("tiny", workspace(machines, "there", str(machines / "shared" / "x")), Watch(), resources=Resources("cpu"))
    watch = Watch()
    join("tiny", workspace(machines, "there", str(machines / "mounted")), watch, resources=Resources("cpu"))
    assert "trial 1 resumed from epoch 2" in watch.notes
    assert Study.load("tiny", workspace(machines, "here")).artifacts_url == str(machines / "shared")


def test_a_place_that_goes_away_in_the_middle_is_told_once_and_the_search_goes_on(machines: Path) -> None:
    shared = machines / "shared"

    class Unmounted(Watch):
        def epoch_finished(self, number: int, result: EpochResult) -> None:
            super().epoch_finished(number, result)
            if (number, result.epoch) == (0, 1) and shared.is_dir():
                shutil.rmtree(shared)
                shared.write_text("")

    watch = Unmounted()
    study = run_search(request(machines), workspace(machines, "here", str(shared)), watch)
    assert [trial.state for trial in study.trials()] == ["complete", "complete"]
    assert study.results().verdict is not None
    assert len([note for note in watch.notes if "Cannot save checkpoints at" in note]) == 1


def test_an_unreachable_place_is_refused_before_anything_is_made(machines: Path) -> None:
    place = workspace(machines, "here", str(machines / "not" / "mounted"))
    with pytest.raises(InvalidInputError) as refused:
        run_search(request(machines, trials=0), place)
    assert len(refused.value.faults) == 2
    assert re.match(
        r"Cannot save checkpoints in \S*/not/mounted: there is no folder \S*/not\.", refused.value.faults[1]
    )
    assert not (machines / "here").exists()
    with pytest.raises(SearchInterrupted):
        run_search(request(machines), workspace(machines, "here"), Watch((0, 0)))
    with pytest.raises(InvalidInputError, match="--artifacts"):
        resume("tiny", place)
    with pytest.raises(InvalidInputError, match="--artifacts"):
        run_search(request(machines), place)
    assert Study.load("tiny", workspace(machines, "here")).artifacts_url is None


# Processes that are killed


def start(root: Path, *arguments: str) -> subprocess.Popen[str]:
    own = {"PYTHONPATH": os.pathsep.join(sys.path), "FROSTLINE_CHECKPOINT_SECONDS": "0", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, "--device", "cpu", "--workspace", str(root)],
        env={**os.environ, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 180.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)


@pytest.fixture
def shared_url(postgres: Server) -> str:
    return postgres.create_database(f"moving{os.getpid()}_{time.monotonic_ns()}")


# Of connections that end with the process.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_the_trial_of_a_killed_worker_is_ended_from_another_workspace(machines: Path, shared_url: str) -> None:
    tmp_path, asked = machines, request(machines, name="undisturbed")
    # It is the file that the request names, too.
    space, shared = write_space(tmp_path, 40, 4), tmp_path / "shared"
    search = ["search", *DATA, "--trials", "2", "--seeds", "1", "--candidates", "1", "--space", str(space)]
    tracking = ["--tracking-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    threads = torch.get_num_threads()
    # As the processes have.
    torch.set_num_threads(1)
    undisturbed = run_search(asked, Workspace(tmp_path / "alone"))
    torch.set_num_threads(threads)

    common = ["--name", "tiny", "--storage", shared_url, "--artifacts", f"file://{shared}"]
    with start(tmp_path / "here", *search, *common, *tracking) as leader:
        wait_for(lambda: list(shared.glob("checkpoints/tiny-*/trial-1/*/previous")), leader)
        leader.send_signal(signal.SIGKILL)
        leader.communicate()
    # All that it knows are three addresses, one of which it finds in the database.
    with start(tmp_path / "there", "worker", "tiny", "--storage", shared_url, *tracking) as worker:
        said, _ = worker.communicate(timeout=300)
    assert worker.returncode == 0, said
    told = re.search(r"trial 1 resumed from epoch (\d+)", said)
    assert told is not None, said
    assert int(told[1]) >= 2
    assert [file for file in shared.rglob("*") if file.is_file()] == []

    moved = Study.load("tiny", Workspace(tmp_path / "here", shared_url))
    ours, theirs = moved.trial(1), undisturbed.trial(1)
    assert (ours.state, ours.curve, ours.score) == ("complete", theirs.curve, theirs.score)
    assert [list(final.probabilities.flat) for final in moved.final_records()] == [
        list(final.probabilities.flat) for final in undisturbed.final_records()
    ]
    client = MlflowClient(tracking_uri=tracking[1])
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    keys = [run.data.tags["frostline.key"] for run in client.search_runs([experiment.experiment_id])]
    assert len(keys) == len(set(keys))
    moved.close()
    undisturbed.close()
