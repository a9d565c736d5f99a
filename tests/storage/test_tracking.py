"""MLflow: one run a key, no step twice, and a store that does not answer is a plain error without secrets."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from mlflow import MlflowClient

from frostline.storage.errors import UnreachableError
from frostline.storage.tracking import StudyTracker, TrackedRun, log_artifact
from frostline.storage.workspace import Workspace

# MLflow's own, on SQLAlchemy 2.1.
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")

TAGS = {"frostline.data": "flowers"}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database without runs: making its schema takes MLflow seconds."""
    file = tmp_path_factory.mktemp("tracking") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def workspace(tmp_path: Path, empty: Path) -> Workspace:
    shutil.copy(empty, tmp_path)
    return Workspace(tmp_path)


@pytest.fixture
def tracker(workspace: Workspace) -> StudyTracker:
    return StudyTracker(None, workspace, "study", TAGS)


def again(tracker: StudyTracker, workspace: Workspace) -> StudyTracker:
    """As another process opens it."""
    return StudyTracker(None, workspace, tracker.client.get_experiment(tracker.experiment_id).name, TAGS)


def trial(tracker: StudyTracker, number: int = 0) -> TrackedRun:
    return tracker.run(f"trial-{number}", f"{number:03d} full", {"learning_rate": 0.1}, {"kind": "trial"})


def steps(tracker: StudyTracker, run: TrackedRun, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in tracker.client.get_metric_history(run.run_id, metric)]


def count_runs(tracker: StudyTracker) -> int:
    return len(tracker.client.search_runs([tracker.experiment_id]))


def test_the_parent_is_made_once(tracker: StudyTracker, workspace: Workspace) -> None:
    other = again(tracker, workspace)
    assert (other.experiment_id, other.parent.info.run_id) == (tracker.experiment_id, tracker.parent.info.run_id)
    assert count_runs(tracker) == 1
    assert tracker.parent.data.tags["frostline.data"] == "flowers"
    assert tracker.parent.info.run_name == "study"


def test_artifacts_have_an_absolute_place_in_the_workspace(tracker: StudyTracker, workspace: Workspace) -> None:
    location = tracker.client.get_experiment(tracker.experiment_id).artifact_location
    assert urlsplit(location).scheme == "file"
    assert Path(urlsplit(location).path).is_absolute()
    assert Path(urlsplit(location).path).parent == workspace.artifacts


def test_a_logged_file_is_found_in_the_workspace(
    tracker: StudyTracker, workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "page.html").write_text("page")
    tracker.parent_run.finish("FINISHED")
    log_artifact(tracker.uri, tracker.parent.info.run_id, tmp_path / "page.html")
    assert [path.read_text() for path in workspace.artifacts.rglob("page.html")] == ["page"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_trial_has_one_nested_run_whoever_opens_it(tracker: StudyTracker, workspace: Workspace) -> None:
    first = trial(tracker)
    first.finish("KILLED")
    second = trial(again(tracker, workspace))
    assert first.run_id == second.run_id
    assert trial(tracker, 1).run_id != first.run_id
    run = tracker.client.get_run(first.run_id)
    assert run.info.status == "RUNNING"
    assert run.data.tags["mlflow.parentRunId"] == tracker.parent.info.run_id
    assert run.data.params == {"learning_rate": "0.1"}
    assert run.data.tags["kind"] == "trial"
    assert count_runs(tracker) == 3


def test_keys_with_a_common_beginning_are_apart(tracker: StudyTracker) -> None:
    assert len({trial(tracker, number).run_id for number in (1, 10, 100)}) == 3


@pytest.mark.parametrize("name", ["trial-0", "final-full-3-1000", "study-study", "a.b_c-d"])
def test_a_study_named_as_a_trial_keeps_its_parent(workspace: Workspace, name: str) -> None:
    tracker = StudyTracker(None, workspace, name, {})
    nested = tracker.run(name, name, {}, {})
    assert again(tracker, workspace).parent.info.run_id == tracker.parent.info.run_id != nested.run_id


def test_studies_do_not_share_runs(tracker: StudyTracker, workspace: Workspace) -> None:
    other = StudyTracker(None, workspace, "other", {})
    assert other.experiment_id != tracker.experiment_id
    assert trial(other).run_id != trial(tracker).run_id


def test_steps_logged_before_a_cut_are_not_logged_again(tracker: StudyTracker, workspace: Workspace) -> None:
    run = trial(tracker)
    for epoch in range(3):
        run.log_step(epoch, {"epoch": epoch, "val_score": epoch / 10})
    run.log_step(2, {"epoch": 2, "val_score": 99.0})
    resumed = trial(again(tracker, workspace))
    for epoch in range(5):
        resumed.log_step(epoch, {"epoch": epoch, "val_score": epoch / 10})
    assert steps(tracker, run, "val_score") == [(epoch, epoch / 10) for epoch in range(5)]
    assert [step for step, _ in steps(tracker, run, "epoch")] == list(range(5))


def test_a_summary_sets_metrics_and_tags_of_any_length(tracker: StudyTracker) -> None:
    run = trial(tracker)
    run.log_summary({"score": 0.5, "peak_memory_mb": 3}, {"trial.state": "failed", "reason": "x" * 9000})
    run.finish("FAILED")
    found = tracker.client.get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert found.info.end_time is not None
    assert found.data.metrics == {"score": 0.5, "peak_memory_mb": 3.0}
    assert found.data.tags["reason"].startswith("xxx")


def test_unfinished_runs_are_the_nested_ones_that_still_run(tracker: StudyTracker, workspace: Workspace) -> None:
    runs = {f"trial-{number}": trial(tracker, number) for number in range(4)}
    runs["trial-1"].finish("FINISHED")
    runs["trial-2"].finish("KILLED")
    found = {key: run.run_id for key, run in again(tracker, workspace).unfinished()}
    assert found == {key: runs[key].run_id for key in ("trial-0", "trial-3")}
    for _, run in list(tracker.unfinished()):
        run.finish("KILLED")
    assert list(tracker.unfinished()) == []
    assert tracker.client.get_run(tracker.parent.info.run_id).info.status == "RUNNING"


def test_a_user_without_a_name_is_no_obstacle(tracker: StudyTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert tracker.client.get_run(trial(tracker).run_id).data.tags["mlflow.user"]


def test_two_processes_can_open_a_new_workspace_together(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from frostline.storage.tracking import StudyTracker\n"
        "from frostline.storage.workspace import Workspace\n"
        "print(StudyTracker(None, Workspace(Path(sys.argv[1])), 'study', {}).parent.info.run_id)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [worker.communicate() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    assert len({out for out, _ in outputs}) == 1


@pytest.mark.parametrize(
    "uri",
    ["http://user:s3cret@127.0.0.1:9", "http://user:s3cret@127.0.0.1:9/", "http://user:s3cret@127.0.0.1:9/path"],
)
def test_a_server_that_does_not_answer_is_told_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    began = time.monotonic()
    with pytest.raises(UnreachableError) as failure:
        StudyTracker(uri, Workspace(tmp_path), "study", {})
    assert time.monotonic() - began < 10
    message = str(failure.value)
    for part in ("http://127.0.0.1:9", "--tracking-uri", "frostline resume"):
        assert part in message
    shown = "".join(traceback.format_exception(failure.value, chain=True))
    # The lines of this file name it; the messages do not.
    assert "s3cret" not in message
    assert "s3cret" not in shown


@pytest.mark.parametrize("uri", ["unknown://user:s3cret@host/x", "postgresql+nodriver://user:s3cret@127.0.0.1:9/x"])
def test_a_store_that_cannot_be_used_is_told_without_its_password(tmp_path: Path, uri: str) -> None:
    with pytest.raises(UnreachableError) as failure:
        StudyTracker(uri, Workspace(tmp_path), "study", {})
    assert "s3cret" not in str(failure.value)
