"""What a study's page in MLflow shows first: a view in MLflow's format, and the verdict as description."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frostline.dashboards.servers.front_end import reads_views
from frostline.storage.tracking.mlflow_views import describe_experiment, keep_view, view_state, view_tag, view_words

NOTE = "mlflow.note.content"


@pytest.fixture
def client(tmp_path: Path, tracking_database: Path) -> MlflowClient:
    shutil.copy(tracking_database, tmp_path)
    return MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def experiment(client: MlflowClient) -> str:
    return client.create_experiment("study")


def test_a_view_is_added_to_a_study_of_an_earlier_version(client: MlflowClient, experiment: str) -> None:
    ((tag, view),) = view_tag().items()
    client.set_experiment_tag(experiment, tag, "older")
    assert keep_view(client.tracking_uri, experiment) == tag.removeprefix("mlflow.sharedViewState.")
    assert client.get_experiment(experiment).tags == {tag: view}
    # As MLflow 3.17 reads it, and as versions before did.
    assert json.loads(json.loads(view)["state"]).items() <= json.loads(view).items()


def test_all_charts_are_in_the_section_and_all_columns_in_order() -> None:
    state = view_state()
    (section,) = state["compareRunSections"]
    assert {chart["metricSectionId"] for chart in state["compareRunCharts"]} == {section["uuid"]}
    assert len({chart["uuid"] for chart in state["compareRunCharts"]}) == len(state["compareRunCharts"])
    assert set(state["selectedColumns"]) < set(state["columnOrder"]) == set(state["columnWidths"])


def test_the_installed_front_end_reads_views_and_another_may_not() -> None:
    assert reads_views(view_words())
    assert not reads_views([*view_words(), "compareRunChartsInAnotherFormat"])


def test_a_front_end_without_the_usual_script_reads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frostline.dashboards.servers.front_end._SCRIPTS", ("server/nowhere", "main*.js"))
    assert not reads_views(view_words())


def describe(client: MlflowClient, experiment: str, note: str) -> str:
    describe_experiment(client, experiment, "abc", note)
    return client.get_experiment(experiment).tags[NOTE]


def test_the_first_line_of_a_note_links_to_the_run(client: MlflowClient, experiment: str) -> None:
    shown = describe(client, experiment, "**full wins.**\n\n| a table |")
    assert shown == f"**full wins.** [Report](#/experiments/{experiment}/runs/abc/artifacts)\n\n| a table |"
    # A later verdict replaces an earlier one.
    assert describe(client, experiment, "**partial wins.**").startswith("**partial wins.**")
    # Sending the same records again changes nothing.
    before = client.get_experiment(experiment).tags
    describe(client, experiment, "**partial wins.**")
    assert client.get_experiment(experiment).tags == before


@pytest.mark.parametrize("own", ["Photos of my garden", ""])
def test_a_description_of_the_users_stays(client: MlflowClient, experiment: str, own: str) -> None:
    describe(client, experiment, "**full wins.**")
    client.set_experiment_tag(experiment, NOTE, own)
    assert describe(client, experiment, "**partial wins.**") == own


def test_a_description_from_before_the_verdict_stays(client: MlflowClient, experiment: str) -> None:
    client.set_experiment_tag(experiment, NOTE, "Photos of my garden")
    assert describe(client, experiment, "**full wins.**") == "Photos of my garden"


def test_long_notes_are_cut_to_what_mlflow_takes(client: MlflowClient, experiment: str) -> None:
    assert len(describe(client, experiment, "long\n" + "x" * 9000)) == 5000
    assert describe(client, experiment, "short").startswith("short ")
