"""Where the network of a strategy is found, and what is said when it is gone."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks.export import CARD, WEIGHTS, load_network
from frostline.search.export.kept import load_kept, open_kept
from frostline.search.study.study import Study
from frostline.search.tracking import network_folder
from frostline.storage.errors import RefusedError, StorageError
from frostline.storage.tracking import StudyMark, download_model

from .conftest import Finished, finish


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, mlflow_records: None) -> Finished:
    """The study, with its networks in MLflow alone."""
    finished = finish(tmp_path_factory.mktemp("logged"))
    shutil.rmtree(finished.workspace.models("photos"))
    return finished


def test_a_network_that_left_the_workspace_comes_from_mlflow(logged: Finished) -> None:
    for strategy in ("partial", "lora"):
        with open_kept(logged.study, strategy) as kept:
            model = load_kept(kept, "cpu")
            assert (kept.folder / "code" / "tiny_network.py").is_file()
        assert np.abs(model.predict(logged.test_files) - logged.calibrated(strategy)).max() < 1e-4
        assert not kept.folder.exists()


def test_a_study_that_mlflow_does_not_know_is_refused_by_name(logged: Finished, tmp_path: Path) -> None:
    for mark, alias in ((StudyMark("nobody", "0" * 32), "champion"), (logged.study.mark, "strategy-full")):
        with pytest.raises(RefusedError, match=f"there is no model {mark.name}@{alias}"):
            download_model(logged.workspace.tracking_url, mark, alias, tmp_path)
    with pytest.raises(RefusedError, match="no MLflow database"):
        download_model(f"sqlite:///{tmp_path}/none.db", logged.study.mark, "champion", tmp_path)
    assert not (tmp_path / "none.db").exists()


def test_another_seed_in_mlflow_is_not_taken_for_the_chosen_one(
    logged: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.search.export.kept.alias", lambda strategy: "strategy-partial")
    with (
        pytest.raises(StorageError, match=r"not in MLflow either .MLflow has the network of seed"),
        open_kept(logged.study, "lora"),
    ):
        pass


def test_a_network_that_is_gone_says_what_to_do(
    finished: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.search.export.kept.alias", lambda strategy: "strategy-gone")
    folder = network_folder(finished.study, finished.chosen("partial"))
    folder.rename(tmp_path / "away")
    try:
        with (
            pytest.raises(StorageError, match=r"copy that folder.*resume photos --fork"),
            open_kept(finished.study, "partial"),
        ):
            pass
    finally:
        (tmp_path / "away").rename(folder)


def test_a_strategy_without_a_final_says_which_have_one(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    results = finished.study.results()
    without = replace(
        results,
        trials=tuple(trial for trial in results.trials if trial.strategy != "lora"),
        finals=tuple(final for final in results.finals if final.strategy != "lora"),
    )
    assert without.verdict is not None
    monkeypatch.setattr(Study, "results", lambda study: without)
    with (
        pytest.raises(InvalidInputError, match=r"'lora' has no final.*feature_extraction, .*partial"),
        open_kept(finished.study, "lora"),
    ):
        pass


def test_a_study_without_a_verdict_says_how_to_finish_it(finished: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = replace(finished.study.results(), finals=())
    monkeypatch.setattr(Study, "results", lambda study: unfinished)
    with pytest.raises(InvalidInputError, match=r"no verdict yet.*frostline resume photos"), open_kept(finished.study):
        pass


def test_a_network_of_an_older_version_has_other_file_names(finished: Finished, tmp_path: Path) -> None:
    kept = network_folder(finished.study, finished.chosen("partial")) / "network"
    shutil.copy(kept / CARD, tmp_path / "model.json")
    shutil.copy(kept / WEIGHTS, tmp_path / "weights.safetensors")
    found = load_network(tmp_path, "cpu").predict(finished.test_files)
    assert np.abs(found - finished.calibrated("partial")).max() < 1e-4
