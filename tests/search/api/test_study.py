"""The Python interface: what a study gives equals what the command line prints and the database holds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.networks.export import load_network
from frostline.search import FrostlineError, Study, list_studies, load_study
from frostline.search.tracking import sync
from frostline.search.tracking.kept_networks import network_folder

from ..export.conftest import CLASSES, STRATEGIES, Finished, finished

__all__ = ["finished"]


@pytest.fixture(scope="module")
def study(finished: Finished) -> Study:
    return load_study("photos", workspace=finished.workspace.root)


def test_the_verdict_is_what_the_command_line_prints(study: Study, finished: Finished) -> None:
    printed = CliRunner().invoke(
        app, ["status", "photos", "--json", "--workspace", str(finished.workspace.root)], obj=TerminalViews()
    )
    verdict = study.verdict
    assert verdict is not None
    assert json.loads(verdict.model_dump_json()) == json.loads(printed.stdout)["verdict"]
    assert str(verdict) == verdict.sentence
    assert verdict[verdict.winner].tied
    with pytest.raises(KeyError, match="not in the verdict, which has"):
        verdict["scratch"]


def test_trials_are_the_records_of_the_study(study: Study, finished: Finished) -> None:
    records = finished.study.trials()
    # pandas' own types are unions that no code of ours can narrow.
    table: Any = study.trials
    assert list(table.index) == [trial.number for trial in records]
    assert list(table["score"]) == [trial.score for trial in records]
    assert sorted(table["strategy"]) == sorted(STRATEGIES)
    for trial in records:
        row = table.loc[trial.number]
        given = {name.removeprefix("params_"): row[name] for name in table.columns if name.startswith("params_")}
        known = {name: value for name, value in given.items() if not pd.isna(value)}
        assert known == {name: value for name, value in trial.config.items() if name != "strategy"}
    best = table.groupby("strategy")["score"].max()
    assert best["partial"] == max(trial.score or 0 for trial in records if trial.strategy == "partial")
    curves: Any = study.curves
    curve: Any = curves.set_index(["number", "epoch"])["score"]
    assert {number: curve.loc[number].to_dict() for number in table.index} == {t.number: t.curve for t in records}


def test_finals_give_the_means_of_the_verdict(study: Study) -> None:
    finals: Any = study.finals
    verdict = study.verdict
    means = finals[finals["finalist"]].groupby("strategy")["test_score"].mean()
    assert verdict is not None
    assert {each.strategy: pytest.approx(each.test.mean) for each in verdict.contenders} == means.to_dict()


@pytest.mark.parametrize("strategy", [None, "lora"])
def test_the_best_model_predicts_as_its_final_did(study: Study, finished: Finished, strategy: str | None) -> None:
    model, verdict = study.best_model(strategy), study.verdict
    assert verdict is not None
    assert isinstance(model, torch.nn.Module)
    assert not model.training
    name = strategy or verdict.winner
    recorded = finished.calibrated(name)
    assert study.classes == CLASSES
    assert np.abs(study.predict(finished.test_files, strategy, device="cpu") - recorded).max() < 1e-4
    # The plain module on images as Frostline prepares them; that network, read on its own, is the reference.
    trained = load_network(network_folder(finished.study, finished.chosen(name)) / "network", "cpu")
    images = trained.inputs(np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8))
    assert torch.allclose(model(images), trained.network(images), atol=1e-4)
    assert any(parameter.requires_grad for parameter in model.parameters())


def test_report_writes_the_page_and_logs_it(
    study: Study, finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []
    monkeypatch.setattr(sync, "send_journal", lambda uri, place, mark, note: sent.append(mark.name))
    page = study.report(tmp_path / "page.html")
    assert page == tmp_path / "page.html"
    verdict = study.verdict
    assert verdict is not None
    assert verdict.winner in page.read_text()
    assert study.report() == finished.workspace.report("photos")
    assert sent == ["photos", "photos"]
    (tmp_path / "file").touch()
    with pytest.raises(FrostlineError, match="Cannot write the report"):
        study.report(tmp_path / "file" / "page.html")


def test_a_notebook_shows_the_verdict(study: Study) -> None:
    verdict = study.verdict
    assert verdict is not None
    shown = study._repr_html_()
    assert verdict.sentence.split(",")[0] in shown.replace("\n", " ")
    assert all(strategy in shown for strategy in STRATEGIES)
    assert "<script" not in shown


def test_what_is_missing_is_said_as_on_the_command_line(study: Study, finished: Finished) -> None:
    root = finished.workspace.root
    with pytest.raises(FrostlineError, match=r"Unknown study 'photoes'\. Did you mean 'photos'") as raised:
        load_study("photoes", workspace=root)
    assert raised.value.wrong_input
    with pytest.raises(FrostlineError, match="Unknown strategy in this study 'fulll'"):
        study.best_model("fulll")
    with pytest.raises(FrostlineError, match="image 0 cannot be used"):
        study.predict([root / "missing.jpg"])
    assert list_studies(workspace=root) == ["photos"]
    assert repr(study) == "<Study 'photos'>"
    assert (study.name, study.state, study.settings["trials"]) == ("photos", "finished", 4)


def test_reading_loads_no_torch(finished: Finished) -> None:
    script = (
        "import sys; from frostline.search import load_study\n"
        "with load_study('photos', workspace=sys.argv[1]) as study:\n"
        "    study.verdict, study.trials, study.finals, study.curves, study._repr_html_()\n"
        "print({'torch', 'torchvision', 'mlflow'} & set(sys.modules))"
    )
    arguments = [sys.executable, "-c", script, str(finished.workspace.root)]
    assert subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip() == "set()"
