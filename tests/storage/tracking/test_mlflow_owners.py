"""Studies of one name in one MLflow: none touches what another one, or someone else, has made."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment

from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.mlflow_audit import TrackedStudy
from frostline.storage.tracking.mlflow_owners import model_name, own_model
from frostline.storage.tracking.mlflow_runs import StudyRuns, find_runs
from frostline.storage.tracking.name_check import holder_at, name_in_use
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import StudyTracker, TrackedRun
from frostline.storage.workspace import Workspace

ONE, OTHER = StudyMark("photos", "1" * 16), StudyMark("photos", "2" * 16)
# As a study of an earlier version has it, before and after a process has worked on it.
EARLIER, IDENTIFIED = StudyMark("photos", "", data="digest"), StudyMark("photos", "3" * 16, data="digest")


@dataclass
class Shared:
    """One MLflow, with a workspace for each study."""

    root: Path
    sender: Any

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def search(self, mark: StudyMark, trials: int) -> list[str]:
        """Log a few trials as a search does; what the user was told."""
        notes: list[str] = []
        place = Workspace(self.root / mark.id)
        tags = {"frostline.fingerprint": "digest"}
        with closing(StudyTracker(self.uri, place, mark, tags, notes.append, self.sender)) as tracker:
            for number in range(trials):
                run = tracker.run(f"trial-{number}", f"{number:03d} full", {"id": mark.id}, {})
                run.log_step(0, {"val_score": number})
                run.finish("FINISHED")
        return notes

    def ids(self, mark: StudyMark) -> dict[str, str]:
        found = find_runs(self.uri, mark)
        return {} if found is None else found[1]

    def owners(self, mark: StudyMark) -> set[str]:
        """Of the trials in a study's experiment."""
        runs = [self.client.get_run(run) for key, run in self.ids(mark).items() if key.startswith("trial-")]
        return {run.data.params["id"] for run in runs}

    def experiment(self, name: str) -> Experiment:
        found = self.client.get_experiment_by_name(name)
        assert found is not None
        return found

    def make_earlier(self) -> None:
        """Log three trials as an earlier version did: without the study's id."""
        self.search(ONE, 3)
        experiment = self.experiment("photos")
        self.client.delete_experiment_tag(experiment.experiment_id, "frostline.study_id")
        parent = self.ids(StudyMark("photos", "", "digest"))["study-photos"]
        self.client.delete_tag(parent, "frostline.study_id")


@pytest.fixture
def shared(tmp_path: Path, tracking_database: Path, sender_in_process: Any) -> Shared:
    shutil.copy(tracking_database, tmp_path)
    return Shared(tmp_path, sender_in_process)


def test_two_studies_of_one_name_have_all_their_runs(shared: Shared) -> None:
    assert shared.search(ONE, 6) == []
    (note,) = shared.search(OTHER, 4)
    assert "experiment 'photos' of another study" in note
    assert "'photos-22222222'" in note
    for mark, trials in ((ONE, 6), (OTHER, 4), (ONE, 6)):
        assert shared.search(mark, trials) == []
    assert (len(shared.ids(ONE)), len(shared.ids(OTHER))) == (7, 5)
    assert (shared.owners(ONE), shared.owners(OTHER)) == ({ONE.id}, {OTHER.id})
    assert len(TrackedStudy(shared.uri, OTHER).runs) == 5
    parents = [shared.client.get_run(shared.ids(mark)["study-photos"]) for mark in (ONE, OTHER)]
    assert [run.data.tags["frostline.study_id"] for run in parents] == [ONE.id, OTHER.id]


def test_an_experiment_is_found_under_any_name(shared: Shared) -> None:
    shared.search(ONE, 2)
    shared.client.rename_experiment(shared.experiment("photos").experiment_id, "holidays")
    shared.search(ONE, 3)
    assert len(shared.ids(ONE)) == 4
    assert shared.client.get_experiment_by_name("photos") is None


def test_an_experiment_of_someone_else_is_left_alone(shared: Shared) -> None:
    made = shared.client.create_experiment("photos")
    shared.search(ONE, 2)
    assert shared.client.search_runs([made]) == []
    assert shared.client.get_experiment(made).tags == {}
    assert len(shared.ids(ONE)) == 3


def test_a_deleted_experiment_of_another_study_takes_the_name_too(shared: Shared) -> None:
    shared.search(ONE, 1)
    shared.client.delete_experiment(shared.experiment("photos").experiment_id)
    shared.search(OTHER, 2)
    assert len(shared.ids(OTHER)) == 3


def test_a_study_of_an_earlier_version_keeps_its_runs(shared: Shared) -> None:
    shared.make_earlier()
    # Readers find them before any process has given the study an id.
    assert len(shared.ids(EARLIER)) == 4
    before = shared.ids(EARLIER)
    assert shared.search(IDENTIFIED, 0) == []
    assert shared.ids(IDENTIFIED) == before
    # Then they are its own alone.
    assert shared.ids(EARLIER) == {}
    shared.search(StudyMark("photos", "4" * 16, data="digest"), 1)
    assert shared.ids(IDENTIFIED) == before


@pytest.mark.parametrize("mark", [OTHER, StudyMark("photos", "5" * 16, data="of other data")])
def test_runs_of_an_earlier_version_go_to_no_other_study(shared: Shared, mark: StudyMark) -> None:
    shared.make_earlier()
    shared.search(mark, 2)
    assert shared.owners(mark) == {mark.id}
    assert len(shared.ids(EARLIER)) == 4


def test_a_registered_model_of_someone_else_is_left_alone(shared: Shared) -> None:
    shared.client.create_registered_model("photos", {"team": "birds"})
    shared.search(ONE, 1)
    experiment = shared.experiment("photos")
    assert own_model(shared.client, ONE, experiment) == "photos-11111111" == model_name(shared.client, ONE, experiment)
    # Again, and by another machine of the study.
    assert own_model(shared.client, ONE, experiment) == "photos-11111111"
    assert shared.client.get_registered_model("photos").tags == {"team": "birds"}
    assert len(shared.client.search_registered_models()) == 2


def test_studies_of_one_name_register_models_of_their_own(shared: Shared) -> None:
    names = []
    for mark in (OTHER, ONE):
        shared.search(mark, 1)
        found = find_runs(shared.uri, mark)
        assert found is not None
        names.append(own_model(shared.client, mark, shared.client.get_experiment(found[0])))
    assert names == ["photos", "photos-11111111"]


@pytest.mark.parametrize(("own", "expected"), [(True, "photos"), (False, "photos-33333333")])
def test_a_registered_model_of_an_earlier_version_stays_with_its_study(
    shared: Shared, own: bool, expected: str
) -> None:
    shared.make_earlier()
    elsewhere = shared.client.create_run(shared.client.create_experiment("elsewhere"))
    run = shared.ids(EARLIER)["trial-0"] if own else elsewhere.info.run_id
    shared.client.create_registered_model("photos", {"frostline.study": "photos"})
    shared.client.create_model_version("photos", str(shared.root), run)
    shared.search(IDENTIFIED, 0)
    experiment = shared.experiment("photos")
    assert own_model(shared.client, IDENTIFIED, experiment) == expected
    tags = shared.client.get_registered_model("photos").tags
    assert tags.get("frostline.study_id") == (IDENTIFIED.id if own else None)


def test_the_note_of_a_study_names_its_own_model(shared: Shared) -> None:
    shared.client.create_registered_model("photos")
    with closing(Journal(shared.root / "journal")) as journal:
        run = TrackedRun(journal, "study-photos")
        run.start("photos", {}, ONE.tags)
        run.log_summary({}, {"mlflow.note.content": "The champion is `models:/photos@champion`."})
        StudyRuns(shared.uri, Workspace(shared.root), ONE).send("study-photos", journal.unsent().records)
    note = shared.client.get_run(shared.ids(ONE)["study-photos"]).data.tags["mlflow.note.content"]
    assert note == "The champion is `models:/photos-11111111@champion`."


def test_a_name_is_free_until_something_has_it(shared: Shared) -> None:
    shared.client.create_registered_model("birds")
    shared.search(ONE, 0)
    assert name_in_use(shared.uri, "flowers") == ""
    assert "the experiment 'photos' of another study" in name_in_use(shared.uri, "photos")
    assert "the registered model 'birds' of someone else" in name_in_use(shared.uri, "birds")
    assert name_in_use("http://127.0.0.1:9", "photos") == ""
    assert name_in_use(f"sqlite:///{shared.root / 'new.db'}", "photos") == ""
    assert not (shared.root / "new.db").exists()


@pytest.mark.slow  # A process. What it answers is quick.
@pytest.mark.usefixtures("names_asked_aside")
def test_a_process_of_its_own_finds_who_has_a_name(shared: Shared) -> None:
    shared.client.create_registered_model("birds")
    found = name_in_use(shared.uri, "birds")
    assert found == f"MLflow at {shared.uri} has {holder_at(shared.uri, 'birds')}"
    assert "the registered model 'birds' of someone else" in found
