"""The verdict in MLflow: standings by which runs are grouped, and faults of the data, counted and in words."""

from __future__ import annotations

import shutil
from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run

from frostline.search.analysis import Verdict
from frostline.search.execution import run_search
from frostline.search.study import Request, Study
from frostline.search.tracking.verdict_run import verdict_note
from frostline.storage.workspace import Workspace

from ...noise import in_splits, write_photos

# Too slow to learn: no configuration is behind another.
SPACE = """
[full]
epochs = 1
learning_rate = { low = 1e-6, high = 1e-5, log = true }
"""
pytestmark = pytest.mark.usefixtures("mlflow_records")


@dataclass
class Decided:
    """A study with its verdict, and what MLflow has of it."""

    study: Study
    verdict: Verdict
    experiment: Experiment
    runs: list[Run]


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory, mlflow_records: None) -> Decided:
    """On images of which one of the test split is in the training split, too."""
    root = tmp_path_factory.mktemp("verdict")
    counts = in_splits({"train": 10, "val": 5, "test": 5}, ("red", "blue"))
    folder = write_photos(root / "colors", counts, size=(36, 36))
    shutil.copy(folder / "test/red/0.png", folder / "train/blue/leaked.png")
    (root / "space.toml").write_text(SPACE)
    request = Request(
        *(str(folder), "tiny_network:create", "none", 32),
        trials=3,
        finals_seeds=2,
        candidates=3,
        name="leaky",
        space=root / "space.toml",
        device="cpu",
    )
    study = run_search(request, Workspace(root / "work"))
    verdict = study.results().verdict
    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    experiment = client.get_experiment_by_name("leaky")
    assert verdict is not None
    assert experiment is not None
    return Decided(study, verdict, experiment, list(client.search_runs([experiment.experiment_id])))


def test_faults_of_the_data_are_counted_on_the_parent_run(leaky: Decided) -> None:
    assert leaky.verdict.leaks is not None
    (parent,) = [run for run in leaky.runs if run.info.run_name == "leaky"]
    metrics, note = parent.data.metrics, parent.data.tags["mlflow.note.content"]
    assert metrics["data/leaked_test_images"] == metrics["data/pictures_under_several_labels"] == 1
    assert metrics["data/likely_label_errors"] == 0
    assert metrics["test_score_without_leaks"] == pytest.approx(leaky.verdict.leaks.scores["full"])
    assert "Faults in the data, which the report lists: 1 of 10 test images (10.0 %)" in note
    assert "But 1 of 10 test images (10.0 %) is also in the training or validation images" in note


def test_by_strategy_and_standing_runs_are_grouped_as_the_verdict_compares_them(leaky: Decided) -> None:
    groups = defaultdict[tuple[str, str], list[Run]](list)
    for run in leaky.runs:
        if {"strategy", "standing"} <= run.data.tags.keys():
            groups[run.data.tags["strategy"], run.data.tags["standing"]].append(run)
    (winner,) = leaky.verdict.contenders
    group = groups.pop(("full", "winner"))
    assert sorted(run.data.tags["kind"] for run in group) == ["final", "final", "strategy"]
    # So the means that MLflow shows for the group are the verdict's.
    for metric, value in (("test_score", winner.mean), ("seconds", winner.seconds)):
        assert np.mean([run.data.metrics[metric] for run in group]) == pytest.approx(value)
    assert [run.data.metrics["final_score"] for run in leaky.runs if "final_score" in run.data.metrics] == [
        pytest.approx(winner.mean)
    ]
    # The finals of configurations that were not chosen.
    (others,) = groups.items()
    assert others[0] == ("full", "candidate")
    assert len(others[1]) == len(leaky.study.final_identities()) - 2 > 0


def test_the_decision_describes_the_experiment(leaky: Decided) -> None:
    first = leaky.verdict.sentence().partition(". ")[0]
    assert leaky.experiment.tags["mlflow.note.content"].startswith(f"**{first}.** [Report](#/experiments/")


def test_names_from_the_data_are_no_markup_in_the_note(leaky: Decided, monkeypatch: pytest.MonkeyPatch) -> None:
    study, results = leaky.study, leaky.study.results()
    assert results.data_faults is not None
    data = "p`x <img src=x onerror=alert(1)> [a](javascript:1)"
    # The probe is never right on the first class.
    results = replace(results, data_faults=replace(results.data_faults, never_right=(0,)))
    monkeypatch.setattr(study, "settings", study.settings.model_copy(update={"data": data}))
    monkeypatch.setattr(study, "facts", replace(study.facts, classes=("<b>*red*", "blue")))
    note = verdict_note(study, leaky.verdict, results, [])
    assert "on p&#96;x &lt;img src=x onerror=alert(1)&gt; &#91;a&#93;(javascript:1) (" in note
    assert "A linear probe is never right on &lt;b&gt;&#42;red&#42;." in note
    assert "| `full`&ensp;" in note
