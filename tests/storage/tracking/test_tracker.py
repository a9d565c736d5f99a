"""MLflow: one run a key, no step twice however often it is sent, and a store that does not answer costs nothing."""

from __future__ import annotations

import getpass
import hashlib
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from frostline.storage.errors import RefusedError, UnreachableError
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.mlflow_runs import StudyRuns, find_runs, log_artifact
from frostline.storage.tracking.mlflow_views import view_tag
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import StudyTracker, TrackedRun, log_study_file, send_journal, uri_fault
from frostline.storage.tracking.unsent_records import read_unsent
from frostline.storage.workspace import Workspace

TAGS = {"frostline.data": "flowers"}


def mark_of(study: str) -> StudyMark:
    """The mark of the study of a name, the same whoever asks."""
    return StudyMark(study, hashlib.sha256(study.encode()).hexdigest()[:16])


NOWHERE = "http://user:s3cret@127.0.0.1:9"


@dataclass
class Place:
    """A workspace with what MLflow has of it."""

    workspace: Workspace
    sender: Any
    notes: list[str] = field(default_factory=list)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.workspace.tracking_url)

    @contextmanager
    def tracker(self, study: str = "study", uri: str | None = None) -> Iterator[StudyTracker]:
        """As a session has it; at the end all is sent that can be."""
        with closing(
            StudyTracker(uri, self.workspace, mark_of(study), TAGS, self.notes.append, self.sender)
        ) as tracker:
            yield tracker

    def send(self, uri: str | None = None) -> int:
        return send_journal(uri, self.workspace, mark_of("study"), self.notes.append)

    def ids(self, study: str = "study") -> dict[str, str]:
        found = find_runs(self.workspace.tracking_url, mark_of(study))
        return {} if found is None else found[1]

    def run(self, key: str, study: str = "study") -> Run:
        return self.client.get_run(self.ids(study)[key])

    def steps(self, metric: str, key: str = "trial-0") -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self.client.get_metric_history(self.ids()[key], metric)]


@pytest.fixture
def place(tmp_path: Path, tracking_database: Path, sender_in_process: Any) -> Place:
    shutil.copy(tracking_database, tmp_path)
    return Place(Workspace(tmp_path), sender_in_process)


def trial(tracker: StudyTracker, number: int = 0) -> TrackedRun:
    return tracker.run(f"trial-{number}", f"{number:03d} full", {"learning_rate": 0.1}, {"kind": "trial"})


def log_epochs(run: TrackedRun, epochs: int) -> None:
    for epoch in range(epochs):
        run.log_step(epoch, {"epoch": epoch, "val_score": epoch / 10})


EPOCHS = [(epoch, epoch / 10) for epoch in range(5)]


def test_the_parent_is_made_once(place: Place) -> None:
    for _ in range(2):
        with place.tracker():
            pass
    assert list(place.ids()) == ["study-study"]
    parent = place.run("study-study")
    assert (parent.data.tags["frostline.data"], parent.info.run_name) == ("flowers", "study")
    assert len(place.client.search_runs([parent.info.experiment_id])) == 1


def test_artifacts_have_an_absolute_place_in_the_workspace(place: Place) -> None:
    with place.tracker():
        pass
    experiment = place.client.get_experiment_by_name("study")
    assert experiment is not None
    location = urlsplit(experiment.artifact_location)
    assert location.scheme == "file"
    assert Path(location.path).is_absolute()
    assert Path(location.path).parent == place.workspace.artifacts


def test_a_logged_file_is_found_in_the_workspace(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with place.tracker() as tracker:
        tracker.parent_run.finish("FINISHED")
    for name in ("page", "other"):
        (tmp_path / f"{name}.html").write_text(name)
    log_study_file(place.workspace, "study", tmp_path / "page.html")
    log_study_file(place.workspace, "study", tmp_path / "deleted-since.html")
    assert place.send() == 2
    log_artifact(place.workspace.tracking_url, mark_of("study"), tmp_path / "other.html")
    logged = place.workspace.artifacts.rglob("*.html")
    assert sorted(path.read_text() for path in logged) == ["other", "page"]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert place.run("study-study").info.status == "FINISHED"


def test_a_trial_has_one_nested_run_whoever_opens_it(place: Place) -> None:
    with place.tracker() as tracker:
        trial(tracker).finish("KILLED")
    first = place.run("trial-0")
    assert first.info.status == "KILLED"
    with place.tracker() as tracker:
        trial(tracker)
        trial(tracker, 1)
    run = place.run("trial-0")
    assert (run.info.run_id, run.info.status) == (first.info.run_id, "RUNNING")
    assert run.data.tags["mlflow.parentRunId"] == place.ids()["study-study"]
    assert run.data.params == {"learning_rate": "0.1"}
    assert (run.data.tags["kind"], run.info.run_name) == ("trial", "000 full")
    assert len(place.client.search_runs([run.info.experiment_id])) == 3


def test_keys_with_a_common_beginning_are_apart(place: Place) -> None:
    with place.tracker() as tracker:
        for number in (1, 10, 100):
            trial(tracker, number)
    assert len({run_id for key, run_id in place.ids().items() if key.startswith("trial-")}) == 3


@pytest.mark.parametrize("name", ["trial-0", "final-full-3-1000", "a.b_c-d"])
def test_a_study_named_as_a_trial_keeps_its_parent(place: Place, name: str) -> None:
    for _ in range(2):
        with place.tracker(name) as tracker:
            tracker.run(name, name, {}, {})
    assert set(place.ids(name)) == {name, f"study-{name}"}
    assert place.run(name, name).data.tags["mlflow.parentRunId"] == place.ids(name)[f"study-{name}"]


def test_studies_do_not_share_runs(place: Place) -> None:
    for name in ("study", "other"):
        with place.tracker(name) as tracker:
            trial(tracker)
    assert place.run("trial-0").info.experiment_id != place.run("trial-0", "other").info.experiment_id
    assert not set(place.ids().values()) & set(place.ids("other").values())


def test_steps_logged_before_a_cut_are_not_logged_again(place: Place) -> None:
    with place.tracker() as tracker:
        run = trial(tracker)
        log_epochs(run, 3)
        run.log_step(2, {"epoch": 2, "val_score": 99.0})
    with place.tracker() as tracker:
        log_epochs(trial(tracker), 5)
    assert place.steps("val_score") == EPOCHS
    assert place.steps("epoch") == [(epoch, epoch) for epoch in range(5)]


@pytest.mark.parametrize("sent_before", [0, 1, 4, 9])
def test_a_journal_sent_again_from_its_beginning_changes_nothing(place: Place, sent_before: int) -> None:
    """As when the process dies after MLflow took a batch and before the journal says so."""
    with closing(Journal(place.workspace.journal("study"))) as journal:
        for key, name in (("study-study", "study"), ("trial-0", "000 full")):
            TrackedRun(journal, key).start(name, {"learning_rate": 0.1}, TAGS)
        run = TrackedRun(journal, "trial-0")
        log_epochs(run, 5)
        run.log_summary({"score": 0.4, "nan": math.nan}, {"trial.state": "complete"})
        run.log_json("certificate.json", [1])
        run.finish("FINISHED")
    path = place.workspace.journal("study")
    unsent = path.read_bytes()
    runs = StudyRuns(place.workspace.tracking_url, place.workspace, mark_of("study"))
    for record in Journal(path).unsent().records[:sent_before]:
        runs.send(record.key, [record])
    seen = []
    for _ in range(2):
        path.write_bytes(unsent)
        assert place.send() == 10
        found = place.run("trial-0")
        ids = sorted(place.ids().items())
        history = {name: len(place.client.get_metric_history(found.info.run_id, name)) for name in found.data.metrics}
        seen.append((ids, found.info.status, found.info.end_time, found.data.tags, found.data.params, history))
    assert seen[0] == seen[1]
    assert seen[0][-1] == {"epoch": 5, "val_score": 5, "score": 1, "nan": 1}
    assert place.steps("val_score") == EPOCHS


def test_a_summary_sets_metrics_and_tags_of_any_length(place: Place) -> None:
    with place.tracker() as tracker:
        run = trial(tracker)
        run.log_summary({"score": 0.5, "peak_memory_mb": 3}, {"trial.state": "failed", "reason": "x" * 9000})
        run.finish("FAILED")
    found = place.run("trial-0")
    assert found.info.status == "FAILED"
    assert found.info.end_time is not None
    assert found.data.metrics == {"score": 0.5, "peak_memory_mb": 3.0}
    assert found.data.tags["reason"].startswith("xxx")


def test_a_summary_that_changes_is_logged_again_and_one_that_does_not_is_not(place: Place) -> None:
    for score in (0.5, 0.5, 0.6):
        with place.tracker() as tracker:
            tracker.parent_run.log_summary({"test_score": score}, {})
    assert [value for _, value in place.steps("test_score", "study-study")] == [0.5, 0.6]


def test_more_metrics_than_a_request_takes(place: Place) -> None:
    with place.tracker() as tracker:
        run = trial(tracker)
        for epoch in range(50):
            run.log_step(epoch, {f"metric{number}": epoch for number in range(30)})
    assert [place.steps(f"metric{number}") for number in (0, 29)] == [[(epoch, epoch) for epoch in range(50)]] * 2


def test_unfinished_runs_are_the_nested_ones_that_still_run(place: Place) -> None:
    with place.tracker() as tracker:
        runs = [trial(tracker, number) for number in range(4)]
        runs[1].finish("FINISHED")
        runs[2].finish("KILLED")
    with place.tracker() as tracker:
        assert [key for key, _ in tracker.unfinished()] == ["trial-0", "trial-3"]
        for _, run in tracker.unfinished():
            run.finish("KILLED")
        assert list(tracker.unfinished()) == []
    assert {key: place.run(key).info.status for key in place.ids()} == {
        "study-study": "RUNNING",
        **dict.fromkeys(("trial-0", "trial-2", "trial-3"), "KILLED"),
        "trial-1": "FINISHED",
    }


def test_what_is_logged_arrives_while_the_search_goes_on(place: Place) -> None:
    with place.tracker() as tracker:
        log_epochs(trial(tracker), 5)
        deadline = time.monotonic() + 60
        while "trial-0" not in place.ids() or len(place.steps("val_score")) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert place.run("trial-0").info.status == "RUNNING"
    assert place.notes == []


def test_what_mlflow_refuses_does_not_hold_up_the_rest(place: Place) -> None:
    with place.tracker() as tracker:
        run = trial(tracker)
        run.log_step(0, {"val_score": 0.0})
        run.log_step(1, {"no/such//name!": 0.0})
        run.log_step(2, {"val_score": 0.2})
        run.finish("FINISHED")
        trial(tracker, 1).finish("FINISHED")
    assert place.steps("val_score") == [(0, 0.0), (2, 0.2)]
    assert {place.run(key).info.status for key in ("trial-0", "trial-1")} == {"FINISHED"}
    (note,) = place.notes
    assert "MLflow lacks the step of trial-0, which is kept: " in note
    assert "frostline sync study" in note
    for _ in range(2):
        with pytest.raises(RefusedError, match=r"the step of trial-0, which is kept: .*no/such//name!"):
            place.send()
    assert read_unsent(place.workspace.journal("study")).refused[0].record.content["step"] == 1
    assert place.steps("val_score") == [(0, 0.0), (2, 0.2)]


def test_what_mlflow_refused_is_sent_once_it_takes_it_and_ends_no_run_again(place: Place) -> None:
    with place.tracker() as tracker:
        trial(tracker).finish("FINISHED")
    with place.tracker() as tracker:
        # MLflow keeps the first value of a parameter.
        tracker.run("trial-0", "000 full", {"learning_rate": 0.2}, {}).finish("FINISHED", "000 full 0.9")
    with pytest.raises(RefusedError, match="the start of trial-0"):
        place.send()
    place.client.delete_run(place.ids()["trial-0"])
    assert place.send() == 1
    assert place.send() == 0
    run = place.run("trial-0")
    assert run.data.params == {"learning_rate": "0.2"}
    with place.tracker() as tracker:
        assert list(tracker.unfinished()) == []


def test_an_experiment_that_was_deleted_costs_no_record(place: Place) -> None:
    with place.tracker() as tracker:
        trial(tracker)
    experiment = place.client.get_experiment_by_name("study")
    assert experiment is not None
    with place.tracker() as tracker:
        run = trial(tracker)
        deadline = time.monotonic() + 60
        while read_unsent(place.workspace.journal("study")).records:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        place.client.delete_experiment(experiment.experiment_id)
        log_epochs(run, 5)
        run.finish("FINISHED")
    told, left = place.notes
    restore = f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    assert restore in told
    assert "the search continues" in told
    assert "frostline sync study" in left
    for _ in range(2):
        with pytest.raises(UnreachableError, match=restore):
            place.send()
    place.client.restore_experiment(experiment.experiment_id)
    assert place.send() == 6
    assert place.steps("val_score") == EPOCHS
    assert place.run("trial-0").info.status == "FINISHED"
    assert place.send() == 0


def test_a_run_that_someone_deleted_is_made_again(place: Place) -> None:
    with place.tracker() as tracker:
        trial(tracker)
    place.client.delete_run(place.ids()["trial-0"])
    with closing(Journal(place.workspace.journal("study"))) as journal:
        run = TrackedRun(journal, "trial-0")
        log_epochs(run, 5)
        run.finish("FINISHED")
    assert place.send() == 6
    assert place.steps("val_score") == EPOCHS


def test_a_run_is_nested_where_its_start_says_and_goes_by_the_name_of_its_end(place: Place) -> None:
    for _ in range(2):
        with place.tracker() as tracker:
            tracker.run("strategy-full", "finals full", {}, {})
            run = tracker.run("final-full-1-1000", "seed 1000", {"rate": 0.123456789}, {}, parent="strategy-full")
            run.finish("FINISHED", "seed 1000 0.5")
            tracker.known("strategy-full").finish("FINISHED", "finals full 0.5")
    final, above = place.run("final-full-1-1000"), place.run("strategy-full")
    assert final.data.tags["mlflow.parentRunId"] == above.info.run_id
    assert above.data.tags["mlflow.parentRunId"] == place.ids()["study-study"]
    assert [run.info.run_name for run in (final, above)] == ["seed 1000 0.5", "finals full 0.5"]
    assert final.data.params == {"rate": "0.123457"}
    assert len(place.client.search_runs([final.info.experiment_id])) == 3


def test_datasets_and_tables_are_logged_once(place: Place) -> None:
    described = {"name": "photos train", "digest": "abc", "context": "training", "source_type": "local"}
    for _ in range(2):
        with place.tracker() as tracker:
            tracker.parent_run.log_datasets([{**described, "source": "{}", "schema": "{}", "profile": '{"n": 3}'}])
            run = trial(tracker)
            run.log_table("table.json", ["a", "b"], [[1, 2]])
            run.log_summary({}, {"finalist": "yes"})
            run.finish("FINISHED")
    inputs = place.run("study-study").inputs
    assert inputs is not None
    (found,) = inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest, found.dataset.profile) == ("photos train", "abc", '{"n": 3}')
    assert [(tag.key, tag.value) for tag in found.tags] == [("mlflow.data.context", "training")]
    # As MLflow's own log_table leaves it.
    assert json.loads(place.run("trial-0").data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "table.json", "type": "table"}
    ]
    file = place.client.download_artifacts(place.ids()["trial-0"], "table.json")
    assert pd.read_json(file, orient="split").to_dict("list") == {"a": [1], "b": [2]}


def test_a_new_experiment_has_the_view_of_its_runs(place: Place) -> None:
    with place.tracker():
        pass
    experiment = place.client.get_experiment_by_name("study")
    assert experiment is not None
    ((key, view),) = view_tag().items()
    assert experiment.tags[key] == view


def test_the_note_of_the_study_describes_its_experiment(place: Place) -> None:
    with place.tracker() as tracker:
        tracker.parent_run.log_summary({}, {"mlflow.note.content": "**full wins.**"})
    experiment = place.client.get_experiment_by_name("study")
    assert experiment is not None
    assert experiment.tags["mlflow.note.content"].startswith("**full wins.** [Report](#/experiments/")


def test_only_metrics_that_are_logged_again_are_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with place.tracker() as tracker:
        log_epochs(trial(tracker), 5)
    read = list[str]()
    history = MlflowClient.get_metric_history

    def note(self: MlflowClient, run_id: str, key: str) -> Any:
        read.append(key)
        return history(self, run_id, key)

    with monkeypatch.context() as patch, place.tracker() as tracker:
        patch.setattr(MlflowClient, "get_metric_history", note)
        run = tracker.known("trial-0")
        run.log_summary({}, {"finalist": "yes"})
        run.log_step(4, {"val_score": 0.4})
    assert read == ["val_score"]
    assert place.steps("val_score") == EPOCHS
    assert place.run("trial-0").data.tags["finalist"] == "yes"


def test_a_user_without_a_name_is_no_obstacle(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nobody)
    with closing(Journal(place.workspace.journal("study"))) as journal:
        TrackedRun(journal, "study-study").start("study", {}, TAGS)
    assert place.send() == 1
    assert place.run("study-study").data.tags["mlflow.user"]


@pytest.mark.slow  # Both start MLflow and make its schema.
def test_two_processes_can_open_a_new_workspace_together(tmp_path: Path, sender_in_process: Any) -> None:
    script = (
        "import sys; from pathlib import Path; from frostline.storage.tracking.tracker import StudyTracker\n"
        "from frostline.storage.workspace import Workspace\n"
        "from frostline.storage.tracking.study_mark import StudyMark\n"
        "StudyTracker(None, Workspace(Path(sys.argv[1])), StudyMark(*sys.argv[2:]), {}, print).close()"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    workers = [
        subprocess.Popen(
            [*command, study, mark_of(study).id], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for study in ("study", "other")
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    place = Place(Workspace(tmp_path), sender_in_process)
    assert [list(place.ids(study)) for study in ("study", "other")] == [["study-study"], ["study-other"]], outputs


@pytest.mark.parametrize("uri", [NOWHERE, f"{NOWHERE}/", f"{NOWHERE}/path"])
def test_a_server_that_does_not_answer_costs_nothing_and_is_told_once_without_its_password(
    place: Place, uri: str
) -> None:
    began = time.monotonic()
    with place.tracker(uri=uri) as tracker:
        log_epochs(trial(tracker), 5)
    assert time.monotonic() - began < 20
    told, left = place.notes
    for part in ("http://127.0.0.1:9", "does not answer", "frostline sync study"):
        assert part in told
    assert "frostline sync study" in left
    with pytest.raises(UnreachableError) as failure:
        place.send(uri)
    assert "s3cret" not in "".join(place.notes) + str(failure.value)
    # Where a store answers, it gets all of it.
    assert place.send() == 7
    assert place.steps("val_score") == EPOCHS
    assert place.send() == 0


@pytest.mark.parametrize("uri", ["unknown://user:s3cret@host/x", "postgresql+nodriver://user:s3cret@127.0.0.1:9/x"])
def test_a_store_that_cannot_be_used_is_told_without_its_password(tmp_path: Path, uri: str) -> None:
    fault = uri_fault(uri)
    assert fault is not None
    with pytest.raises((UnreachableError, RefusedError)) as failure:
        StudyRuns(uri, Workspace(tmp_path), mark_of("study"))
    assert "s3cret" not in fault + str(failure.value)


def test_usable_uris_have_no_fault() -> None:
    for uri in ("http://host:5000", "https://u:p@host", "sqlite:////a/mlflow.db"):
        assert uri_fault(uri) is None
