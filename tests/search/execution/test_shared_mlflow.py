"""Searches of several people in one MLflow, and one whose experiment was deleted there."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.search.study.studies import study_names
from frostline.search.study.study import Study
from frostline.storage.tracking.mlflow_runs import find_runs
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = pytest.mark.usefixtures("mlflow_records")

SPACE = "[shared]\nepochs = 1\nbatch_size = 16\n\n[feature_extraction]\nlearning_rate = 3e-3\n"


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")


@dataclass
class Shared:
    """A folder with one MLflow and the workspaces of several people."""

    root: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)

    def search(self, who: str, *options: str) -> Any:
        (self.root / "space.toml").write_text(SPACE)
        return invoke(
            *("search", few_digits(), "--backbone", "tiny_network:create", "--weights", "none"),
            *("--image-size", "32", "--space", self.root / "space.toml", "--trials", "1", "--seeds", "2"),
            *("--device", "cpu", "--workspace", self.root / who, "--tracking-uri", self.uri, *options),
        )

    def study(self, who: str, name: str = "tiny") -> Study:
        return Study.load(name, Workspace(self.root / who))

    def runs(self, study: Study) -> dict[str, str]:
        found = find_runs(self.uri, study.mark)
        return {} if found is None else found[1]

    def versions(self, name: str) -> list[Any]:
        return list(self.client.search_model_versions(f"name = '{name}'"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tracking_database: Path) -> Shared:
    """Anna's study has ended."""
    root = tmp_path_factory.mktemp("shared")
    shutil.copy(tracking_database, root)
    shared = Shared(root)
    with pytest.MonkeyPatch.context() as patch:
        # A setting for other programs.
        patch.setenv("MLFLOW_REGISTRY_URI", f"sqlite:///{root / 'elsewhere.db'}")
        result = shared.search("anna", "--name", "tiny")
    assert result.exit_code == 0, result.output
    return shared


@pytest.fixture
def shared(searched: Shared, tmp_path: Path) -> Shared:
    copy = Shared(Path(shutil.copytree(searched.root, tmp_path / "copy")))
    copy.study("anna").inner.set_user_attr("frostline:tracking", copy.uri)
    return copy


def test_models_are_registered_where_the_runs_are(searched: Shared) -> None:
    assert not (searched.root / "elsewhere.db").exists()
    model = searched.client.get_registered_model("tiny")
    assert model.aliases.keys() == {"champion", "strategy-feature_extraction"}
    assert model.tags["frostline.study_id"] == searched.study("anna").mark.id


def test_a_second_study_of_the_name_is_refused_before_anything_is_made(shared: Shared) -> None:
    before = shared.runs(shared.study("anna"))
    refused = shared.search("ben", "--name", "tiny")
    assert refused.exit_code == 2
    assert "has the experiment 'tiny' of another study" in refused.stderr
    assert "--name ANOTHER" in refused.stderr
    assert study_names(Workspace(shared.root / "ben")) == []
    result = shared.search("ben", "--name", "bens")
    assert result.exit_code == 0, result.output
    own, other = shared.study("ben", "bens"), shared.study("anna")
    assert len(shared.runs(own)) == len(before) == 5
    assert shared.runs(other) == before
    # The same command resumes it.
    assert shared.search("ben", "--name", "bens").exit_code == 0
    refused = invoke("resume", "bens", "--fork", "tiny", "--workspace", shared.root / "ben")
    assert refused.exit_code == 2
    assert "--fork ANOTHER" in refused.stderr


def test_a_model_that_someone_registers_meanwhile_is_left_alone(shared: Shared) -> None:
    client = shared.client
    client.create_registered_model("late")
    (version,) = shared.versions("tiny")
    made = client.create_model_version("late", version.source, version.run_id)
    client.set_registered_model_alias("late", "champion", made.version)
    # MLflow does not answer when the search begins.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frostline.search.study.prepare.name_in_use", lambda uri, name: "")
        result = shared.search("ben", "--name", "late")
    assert result.exit_code == 0, result.output
    assert client.get_registered_model("late").aliases == {"champion": made.version}
    study = shared.study("ben", "late")
    own = client.get_registered_model(study.mark.other_name)
    assert own.aliases.keys() == {"champion", "strategy-feature_extraction"}
    note = client.get_run(shared.runs(study)["study-late"]).data.tags["mlflow.note.content"]
    assert f"-m models:/{study.mark.other_name}@champion" in note


def test_a_study_of_an_earlier_version_goes_on_with_its_runs_and_its_model(shared: Shared) -> None:
    study, client = shared.study("anna"), shared.client
    before = shared.runs(study)
    found = find_runs(shared.uri, study.mark)
    assert found is not None
    client.delete_experiment_tag(found[0], "frostline.study_id")
    client.delete_tag(before["study-tiny"], "frostline.study_id")
    client.delete_registered_model_tag("tiny", "frostline.study_id")
    attributes = {name: value for name, value in study.inner.user_attrs.items() if name != "frostline:identity"}
    study.close()
    forget_identity(shared.root / "anna" / "studies.db")
    assert shared.study("anna").inner.user_attrs == attributes
    assert shared.study("anna").mark.id == ""

    result = invoke("resume", "tiny", "--trials", "2", "--workspace", shared.root / "anna")
    assert result.exit_code == 0, result.output
    study = shared.study("anna")
    after = shared.runs(study)
    assert before.items() <= after.items()
    assert "trial-1" in after
    assert study.mark.id == client.get_experiment(found[0]).tags["frostline.study_id"]
    assert client.get_registered_model("tiny").tags["frostline.study_id"] == study.mark.id
    assert [model.name for model in client.search_registered_models()] == ["tiny"]
    agrees = invoke("doctor", "tiny", "--workspace", shared.root / "anna")
    assert agrees.exit_code == 0, agrees.output


def forget_identity(database: Path) -> None:
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("DELETE FROM study_user_attributes WHERE key = 'frostline:identity'")


def test_a_deleted_experiment_is_told_until_it_is_restored(shared: Shared) -> None:
    place, client = shared.root / "anna", shared.client
    found = find_runs(shared.uri, shared.study("anna").mark)
    assert found is not None
    client.delete_experiment(found[0])
    restore = f"mlflow experiments restore --experiment-id {found[0]}"

    resumed = invoke("resume", "tiny", "--trials", "2", "--workspace", place)
    assert resumed.exit_code == 0, resumed.output
    told = resumed.output.replace("\n", " ")
    assert restore in told
    assert "Some records are not in MLflow yet" in told
    for _ in range(2):
        refused = invoke("sync", "tiny", "--workspace", place)
        assert refused.exit_code == 1
        assert restore in refused.stderr
        assert "Nothing is lost" in refused.stderr
        assert "up to date" not in refused.stdout
    examined = invoke("doctor", "tiny", "--workspace", place, "--json")
    assert examined.exit_code == 1
    assert any(restore in problem["what"] for problem in json.loads(examined.stdout)["problems"])

    client.restore_experiment(found[0])
    sent = invoke("sync", "tiny", "--workspace", place)
    assert sent.exit_code == 0, sent.output
    assert "records uploaded" in sent.stdout
    agrees = invoke("doctor", "tiny", "--workspace", place)
    assert agrees.exit_code == 0, agrees.output
    assert "trial-1" in shared.runs(shared.study("anna"))
