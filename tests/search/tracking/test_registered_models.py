"""What MLflow shows of a study, read back by its own client, and the winner as a model, used by its own commands."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.models import Model
from numpy.typing import NDArray
from PIL import Image
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from frostline.dashboards.report.error_analysis import analyze_finalists
from frostline.dashboards.tables import verdict_rows
from frostline.objectives.networks.export import load_network
from frostline.search.analysis import Verdict
from frostline.search.execution.run import resume, run_search
from frostline.search.records import FinalRecord
from frostline.search.slots import Resources
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.search.tracking.provenance import command_line
from frostline.search.tracking.registered_models import network_folder
from frostline.storage.errors import RefusedError, UnreachableError
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.journal_records import JournalRecord
from frostline.storage.tracking.mlflow_runs import StudyRuns
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import ServedModel, TrackedRun
from frostline.storage.workspace import Workspace

from ...noise import write_look_alikes

pytestmark = pytest.mark.usefixtures("mlflow_records")

CLASSES = ("blue", "green", "red")
SPACE = """
[feature_extraction]
epochs = 2
learning_rate = { low = 1e-4, high = 1e-2, log = true, default = 0.001234567890123 }

[partial]
epochs = 2
learning_rate = 0.003
freeze_depth = 2
"""


@dataclass
class Finished:
    """A study that ran to its verdict."""

    study: Study
    data: Path

    @property
    def workspace(self) -> Workspace:
        return self.study.workspace

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.workspace.tracking_url)

    def runs(self, **tags: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name("photos")
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id])
        return [run for run in found if tags.items() <= run.data.tags.items()]

    @property
    def parent(self) -> Run:
        (run,) = [run for run in self.runs() if "mlflow.parentRunId" not in run.data.tags]
        return run

    def table(self, run: Run, file: str) -> dict[str, Any]:
        return json.loads(Path(self.client.download_artifacts(run.info.run_id, file)).read_text())

    def best_final(self, strategy: str) -> FinalRecord:
        finals = [final for final in self.study.results().finals if final.strategy == strategy]
        return sorted(finals, key=lambda final: (-final.val_score, final.seed))[0]

    def files(self, split: str) -> list[Path]:
        return [file for name in CLASSES for file in sorted((self.data / split / name).iterdir())]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    root = tmp_path_factory.mktemp("models")
    data = write_look_alikes(root / "photos", CLASSES)
    (root / "space.toml").write_text(SPACE)
    request = Request(
        *(str(data), "tiny_network:create", "none", 32),
        trials=3,
        finals_seeds=2,
        candidates=1,
        name="photos",
        space=root / "space.toml",
        device="cpu",
    )
    return Finished(run_search(request, Workspace(root / "workspace")), data)


def test_runs_are_named_after_what_they_are_and_how_they_ended(finished: Finished) -> None:
    assert finished.parent.info.run_name == "photos"
    units = len(finished.study.facts.units)
    depths = {"feature_extraction": units, "partial": 2}
    for trial in finished.study.trials():
        (run,) = finished.runs(**{"frostline.key": f"trial-{trial.number}"})
        depth = depths[str(trial.strategy)]
        expected = f"{trial.number:03d} {trial.strategy} d={depth} tiny_network:create {trial.score:.3f}"
        assert run.info.run_name == expected
    for final in finished.study.final_records():
        name = f"seed {final.seed} {final.finalist} {final.test_score:.3f}"
        assert [run.info.run_name for run in finished.runs(kind="final") if run.info.run_name == name] == [name]
    above = [run.info.run_name or "" for run in finished.runs(kind="strategy")]
    assert len(above) == 2
    assert all(re.fullmatch(r"finals \w+ 0\.\d{3} ± 0\.\d{3}( winner| leads| tie)?", name) for name in above)
    assert {run.info.status for run in finished.runs()} == {"FINISHED"}


def test_parameters_are_the_active_ones_in_readable_digits(finished: Finished) -> None:
    (run,) = finished.runs(**{"frostline.key": "trial-0"})
    assert run.data.params["learning_rate"] == "0.00123457"
    assert not {"momentum", "head.width", "lora_rank", "probe_epochs"} & run.data.params.keys()


def test_the_study_says_which_command_and_commit_it_comes_from(finished: Finished) -> None:
    tags = finished.parent.data.tags
    assert tags["frostline.command"] == command_line()
    here = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    assert tags.get("mlflow.source.git.commit") == (here.stdout.strip() or None)


def test_the_verdict_is_a_note_with_numbers(finished: Finished) -> None:
    verdict = finished.study.results().verdict
    assert verdict is not None
    data = finished.parent.data
    note = data.tags["mlflow.note.content"]
    assert verdict.sentence() in " ".join(note.replace("**", "").split())
    # MLflow folds all but the first line away.
    assert note.splitlines()[0] == f"**{verdict.sentence().partition('. ')[0].rstrip('.')}.**"
    assert table_of(note) == expected_table(verdict)
    assert "95 % interval" in note
    assert "95%" not in note
    # A minus sign, not a hyphen.
    assert re.search(r"\[−\d+\.\d, ", note)
    assert not re.search(r"[\[ ]-\d", note)
    assert "models:/photos@champion" in note
    assert data.metrics["test_score"] == pytest.approx(verdict.winner.mean)
    ranked = sorted(finished.runs(kind="strategy"), key=lambda run: run.data.metrics["rank"])
    assert [run.data.tags["strategy"] for run in ranked] == [each.strategy for each in verdict.contenders]
    shares = {run.data.tags["strategy"]: run.data.metrics["probability_best"] for run in finished.runs(kind="strategy")}
    assert sum(shares.values()) == pytest.approx(1.0)
    for run in finished.runs(kind="strategy"):
        assert (run.data.tags["standing"] in ("winner", "leads")) == (
            run.data.tags["strategy"] == verdict.winner.strategy
        )
        assert run.data.metrics["gap_low"] <= run.data.metrics["gap_to_leader"] <= run.data.metrics["gap_high"]


def table_of(note: str) -> list[list[str]]:
    """Cells of the note's table, without MLflow's spaces."""
    rows = [line.strip("| ").split("|") for line in note.splitlines() if line.startswith("| ")]
    return [[cell.replace("&ensp;", "").strip() for cell in row] for row in rows]


def expected_table(verdict: Verdict) -> list[list[str]]:
    """What the terminal shows, with two more columns."""
    shown = verdict_rows(verdict)
    titles = [column.title for column in shown.columns]
    shares = [f"{100 * verdict.best_shares[contender.strategy]:.0f} %" for contender in verdict.contenders]
    trials = [f"{contender.trial_number:03d}" for contender in verdict.contenders]
    rows = [
        [f"`{name}`", *cells, share, trial]
        for (name, *cells), share, trial in zip(shown.rows, shares, trials, strict=True)
    ]
    return [[*titles, "best in resamplings", "trial"], *rows]


def test_the_dataset_is_an_input_with_digest_counts_and_profile(finished: Finished) -> None:
    inputs = finished.parent.inputs
    assert inputs is not None
    found = {each.dataset.name: each for each in inputs.dataset_inputs}
    assert found.keys() == {"photos train", "photos val", "photos test"}
    counts = {name: json.loads(each.dataset.profile or "")["num_rows"] for name, each in found.items()}
    assert counts == {"photos train": 18, "photos val": 12, "photos test": 15}
    assert len({each.dataset.digest for each in found.values()}) == 1
    contexts = [tag.value for each in found.values() for tag in each.tags if tag.key == "mlflow.data.context"]
    assert sorted(contexts) == ["testing", "training", "validation"]


def test_a_finalist_is_tagged_and_its_finals_show_their_mistakes(finished: Finished) -> None:
    best = {summary.best.number for summary in finished.study.results().summaries if summary.best}
    tagged = {int(run.data.tags["frostline.key"].split("-")[1]) for run in finished.runs(finalist="yes")}
    assert tagged == best
    for final in finished.study.results().finals:
        (run,) = finished.runs(**{"frostline.key": f"final-{final.strategy}-{final.trial_number}-{final.seed}"})
        confusion = finished.table(run, "confusion.json")
        assert [row[0] for row in confusion["data"]] == list(CLASSES)
        assert np.trace(np.array([row[1:] for row in confusion["data"]])) == round(15 * final.test_score)
        wrong = 15 - round(15 * final.test_score)
        assert wrong > 0
        assert len(finished.table(run, "worst_mistakes.json")["data"]) == min(12, wrong)
        with Image.open(finished.client.download_artifacts(run.info.run_id, "worst_mistakes.png")) as sheet:
            assert sheet.width > 160
        assert "certificate.json" in [file.path for file in finished.client.list_artifacts(run.info.run_id)]
    assert not finished.workspace.outgoing("photos").exists()


def test_the_run_of_a_strategy_shows_the_errors_that_the_report_shows(finished: Finished) -> None:
    results = finished.study.results()
    analyses = analyze_finalists(results, None)
    assert len(analyses) > 1
    for analysis in analyses:
        (run,) = finished.runs(kind="strategy", strategy=analysis.strategy)
        rows = finished.table(run, "confusion.json")["data"]
        assert [row[1:] for row in rows] == analysis.confusion.counts.tolist()
        singles = [
            np.array([row[1:] for row in finished.table(each, "confusion.json")["data"]])
            for each in finished.runs(kind="final", strategy=analysis.strategy)
        ]
        assert len(singles) == results.settings.finals_seeds
        assert np.array_equal(sum(singles), [row[1:] for row in rows])
        logged = finished.table(run, "worst_mistakes.json")["data"]
        assert [(row[0], row[2], row[5]) for row in logged] == [
            (shown.mistake.image, shown.taken, shown.mistake.wrong) for shown in analysis.mistakes
        ]
        assert [row[3] for row in logged] == pytest.approx(
            [shown.mistake.probability for shown in analysis.mistakes], abs=1e-6
        )


def test_the_best_seed_of_each_strategy_is_registered_without_pickle(finished: Finished) -> None:
    verdict = finished.study.results().verdict
    assert verdict is not None
    registered = finished.client.get_registered_model("photos")
    assert registered.aliases.keys() == {"champion", "strategy-feature_extraction", "strategy-partial"}
    assert registered.aliases["champion"] == registered.aliases[f"strategy-{verdict.winner.strategy}"]
    for strategy in ("feature_extraction", "partial"):
        version = finished.client.get_model_version_by_alias("photos", f"strategy-{strategy}")
        final = finished.best_final(strategy)
        run = finished.client.get_run(str(version.run_id))
        assert run.data.tags["frostline.key"] == f"final-{strategy}-{final.trial_number}-{final.seed}"
        files = [file for file in Path(str(version.source).removeprefix("file://")).rglob("*") if file.is_file()]
        assert {file.suffix for file in files} <= {".py", ".pyi", ".json", ".safetensors", ".yaml", ".txt", ""}
        requirements = next(file.read_text() for file in files if file.name == "requirements.txt")
        assert all(re.fullmatch(r"[a-z-]+==[\w.]+", line) for line in requirements.split())
        assert "torch==" in requirements
        assert "frostline" not in requirements
    kept = finished.workspace.models("photos").iterdir()
    assert len(list(kept)) == 2


@pytest.mark.parametrize("strategy", ["feature_extraction", "partial"])
def test_a_kept_network_divides_its_logits_by_the_temperature_of_the_validation_images(
    finished: Finished, strategy: str
) -> None:
    final = finished.best_final(strategy)
    model = load_network(network_folder(finished.study, final) / "network", "cpu")
    assert final.temperature == model.card.temperature != 1.0
    seen: list[torch.Tensor] = []
    model.network.head.register_forward_hook(lambda network, inputs, output: seen.append(output.double()))
    found = model.predict(finished.files("test"))
    model.predict(finished.files("val"))
    test, val = (logits.numpy() for logits in seen)
    assert np.abs(found - softmax(test / final.temperature, axis=1)).max() < 1e-6
    # The record has what the network gives without a temperature.
    assert np.abs(final.probabilities - softmax(test, axis=1)).max() < 1e-5
    assert np.array_equal(found.argmax(axis=1), final.predictions)

    def val_loss(inverse: float) -> float:
        return -float(log_softmax(inverse * val, axis=1)[np.arange(12), np.repeat(np.arange(3), 4)].mean())

    least: Any = minimize_scalar(val_loss, bounds=(1 / 20, 20), options={"xatol": 1e-9})
    assert final.temperature == pytest.approx(1 / least.x, rel=1e-3)


def test_a_model_states_its_temperature(finished: Finished) -> None:
    for strategy in ("feature_extraction", "partial"):
        temperature = finished.best_final(strategy).temperature
        version = finished.client.get_model_version_by_alias("photos", f"strategy-{strategy}")
        assert f"temperature {temperature:.3f}, fitted on 12 validation images" in str(version.description)
        metadata = Model.load(str(version.source).removeprefix("file://")).metadata
        assert metadata is not None
        assert metadata["temperature"] == temperature


# Loads in a process where neither Frostline nor what only a search needs can be imported.
PREDICT = """
import base64, json, sys
for name in ("frostline", "optuna", "plotly", "typer", "rich", "jinja2"):
    sys.modules[name] = None
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1])
rows = [[base64.b64decode(each)] for each in json.load(sys.stdin)]
import pandas
print(model.predict(pandas.DataFrame(rows, columns=["image"])).to_json(orient="split", double_precision=15))
"""


def environment(finished: Finished) -> dict[str, str]:
    """Of a process that knows the store, and Frostline by no path."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**own, "MLFLOW_TRACKING_URI": finished.workspace.tracking_url, "MLFLOW_DISABLE_TELEMETRY": "true"}


def calibrated(final: FinalRecord) -> NDArray[np.float64]:
    """Test probabilities of logits that are divided by the final's temperature."""
    assert final.temperature is not None
    return softmax(np.log(final.probabilities.astype(float)) / final.temperature, axis=1)


def encoded(files: list[Path]) -> list[str]:
    return [base64.b64encode(file.read_bytes()).decode() for file in files]


@pytest.mark.slow  # Processes; a network loads without Frostline in test_backbone_sources.py.
def test_the_champion_gives_the_finalists_calibrated_probabilities_where_frostline_is_not(finished: Finished) -> None:
    verdict = finished.study.results().verdict
    assert verdict is not None
    said = subprocess.run(
        [sys.executable, "-P", "-c", PREDICT, "models:/photos@champion"],
        input=json.dumps(encoded(finished.files("test"))),
        env=environment(finished),
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    answer = json.loads(said.stdout.splitlines()[-1])
    assert answer["columns"] == ["label", *(f"probability_{name}" for name in CLASSES)]
    expected = finished.best_final(verdict.winner.strategy)
    found = np.array([row[1:] for row in answer["data"]])
    assert np.abs(found - calibrated(expected)).max() < 1e-5
    assert [row[0] for row in answer["data"]] == [CLASSES[place] for place in expected.predictions]


@pytest.mark.slow
def test_mlflow_models_predict_takes_an_image_and_gives_the_same(finished: Finished, tmp_path: Path) -> None:
    request = {"dataframe_split": {"columns": ["image"], "data": [[each] for each in encoded(finished.files("test"))]}}
    (tmp_path / "photos.json").write_text(json.dumps(request))
    command = [sys.executable, "-m", "mlflow", "models", "predict", "-m", "models:/photos@strategy-partial"]
    command += ["-i", str(tmp_path / "photos.json"), "-t", "json", "--env-manager", "local"]
    command += ["-o", str(tmp_path / "answer.json")]
    subprocess.run(command, env=environment(finished), check=True, capture_output=True)
    rows = json.loads((tmp_path / "answer.json").read_text())["predictions"]
    found = np.array([[row[f"probability_{name}"] for name in CLASSES] for row in rows])
    assert np.abs(found - calibrated(finished.best_final("partial"))).max() < 1e-5


def test_requests_of_all_forms_get_the_same_answer(finished: Finished) -> None:
    files = finished.files("test")
    first, second = encoded(files)[:2]
    source = str(finished.client.get_model_version_by_alias("photos", "strategy-partial").source)
    with warnings.catch_warnings():
        # MLflow's own.
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient
        from mlflow import pyfunc
        from mlflow.pyfunc import scoring_server

        model = pyfunc.load_model(source)
        client = TestClient(scoring_server.init(model))
        answers = [
            client.post("/invocations", json=request)
            for request in (
                {"dataframe_split": {"columns": ["image"], "data": [[first], [second]]}},
                {"dataframe_records": [{"image": first}, {"image": second}]},
                {"instances": [{"image": first}, {"image": second}]},
                {"instances": [first, second]},
                {"inputs": {"image": [first, second]}},
                {"inputs": [first, second]},
                {"inputs": [{"image": first}, {"image": second}]},
                # As `base64` writes it without -w0.
                {"inputs": {"image": [base64.encodebytes(file.read_bytes()).decode() for file in files[:2]]}},
            )
        ]
        given = model.predict(pd.DataFrame({"image": [file.read_bytes() for file in files[:2]]}))
        wrong = client.post("/invocations", json={"inputs": {"image": [base64.b64encode(b"no image").decode()]}})
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    rows = [answer.json()["predictions"] for answer in answers]
    assert rows == [rows[0]] * len(rows)
    expected = calibrated(finished.best_final("partial"))[:2]
    for table in (pd.DataFrame(rows[0]), given):
        assert np.abs(table[[f"probability_{name}" for name in CLASSES]].to_numpy() - expected).max() < 1e-5
    assert wrong.status_code == 400
    assert "image 0 cannot be used" in wrong.text


def test_a_larger_budget_registers_only_what_is_new(finished: Finished) -> None:
    def digests() -> list[str]:
        versions = finished.client.search_model_versions("name = 'photos'")
        return sorted(version.tags["frostline.digest"] for version in versions)

    before = digests()
    study = resume("photos", finished.workspace, trials=4, resources=Resources("cpu"))
    after = digests()
    assert set(before) <= set(after)
    assert len(after) == len(set(after))
    best = {summary.best.number for summary in study.results().summaries if summary.best}
    assert {int(run.data.tags["frostline.key"].split("-")[1]) for run in finished.runs(finalist="yes")} == best
    aliases = finished.client.get_registered_model("photos").aliases
    verdict = study.results().verdict
    assert verdict is not None
    assert aliases["champion"] == aliases[f"strategy-{verdict.winner.strategy}"]


# Exactly once


@dataclass
class Store:
    """An empty store, and the records that give it a model."""

    workspace: Workspace
    served: ServedModel

    def records(self, key: str = "final", **changes: Any) -> list[JournalRecord]:
        path = self.workspace.journal("photos")
        with closing(Journal(path)) as journal:
            run = TrackedRun(journal, key)
            run.start(key, {}, {})
            run.log_model(replace(self.served, **changes))
            run.finish("FINISHED")
            records = [journal.unsent().records[0]]
            # What takes long goes alone.
            for _ in range(2):
                batch = journal.unsent()
                journal.mark_sent(batch)
                records += [record for record in batch.records if record not in records]
            records += journal.unsent().records
        path.unlink()
        assert [record.kind for record in records] == ["start", "model", "finish"]
        return records

    def send(self, records: list[JournalRecord]) -> None:
        runs = StudyRuns(self.workspace.tracking_url, self.workspace, StudyMark("photos", "0123456789abcdef"))
        runs.send(records[0].key, records)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.workspace.tracking_url)


@pytest.fixture
def store(finished: Finished, tracking_database: Path, tmp_path: Path) -> Store:
    shutil.copy(tracking_database, tmp_path)
    workspace = Workspace(tmp_path)
    folders = sorted(finished.workspace.models("photos").iterdir())
    (package,) = [path.name for path in (folders[0] / "code").iterdir() if path.name != "tiny_network.py"]
    return Store(workspace, ServedModel(str(folders[0]), package, list(CLASSES), ["torch"], "one", "", ["champion"]))


CUTS = (
    *("create_logged_model", "log_model_artifacts", "finalize_logged_model", "log_outputs"),
    *("create_registered_model", "create_model_version", "set_registered_model_alias"),
)


def test_a_model_whose_sending_was_cut_off_anywhere_is_there_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = store.records()
    for name in CUTS:
        done = getattr(MlflowClient, name)

        def cut_off(*args: Any, _done: Any = done, **options: Any) -> None:
            _done(*args, **options)
            raise ConnectionError("cut off")

        with monkeypatch.context() as patch:
            patch.setattr(MlflowClient, name, cut_off)
            with pytest.raises(UnreachableError, match="cut off"):
                store.send(records)
    for _ in range(2):
        store.send(records)
    (experiment,) = [each for each in store.client.search_experiments() if each.name == "photos"]
    (model,) = store.client.search_logged_models([experiment.experiment_id])
    assert str(model.status) == "READY"
    (version,) = store.client.search_model_versions("name = 'photos'")
    assert store.client.get_registered_model("photos").aliases == {"champion": version.version}
    (run,) = store.client.search_runs([experiment.experiment_id], "tags.`frostline.key` = 'final'")
    assert run.outputs is not None
    assert [output.model_id for output in run.outputs.model_outputs] == [model.model_id]
    assert run.info.status == "FINISHED"


def test_a_verdict_that_changes_moves_the_aliases(store: Store, finished: Finished) -> None:
    first, second = sorted(finished.workspace.models("photos").iterdir())[:2]
    for folder, key, aliases in (
        (first, "a", ["strategy-a", "champion"]),
        (second, "b", ["strategy-b"]),
        (first, "a", ["strategy-a"]),
        (second, "b", ["strategy-b", "champion"]),
    ):
        store.send(store.records(key, folder=str(folder), aliases=aliases))
    aliases = store.client.get_registered_model("photos").aliases
    assert len(store.client.search_model_versions("name = 'photos'")) == 2
    assert aliases["champion"] == aliases["strategy-b"] != aliases["strategy-a"]


def test_a_model_whose_files_are_gone_is_refused_by_name(store: Store) -> None:
    with pytest.raises(RefusedError, match="files are gone"):
        store.send(store.records(folder=str(store.workspace.root / "nowhere")))
