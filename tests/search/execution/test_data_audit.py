"""Faults of the data in a study: said before training, kept and counted; and the search sees nothing of test images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from frostline.dashboards.report.report import render_report
from frostline.objectives.config import BackboneSpec
from frostline.objectives.data import find_gallery
from frostline.objectives.networks import BackbonePool
from frostline.search.cli.results_json import describe
from frostline.search.execution import run_search
from frostline.search.space.default_space import default_tables
from frostline.search.study import LineProgress, Request, Study
from frostline.storage.workspace import Workspace

from ...noise import write_photos

CLASSES = ("red", "blue")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights, so that the data are searched for all faults."""
    file = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    model = BackbonePool(BackboneSpec("tiny_network:create", "none", 32)).pretrained.model
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, file)
    return str(file)


def write(folder: Path, rng: np.random.Generator, count: int, color: int | None) -> None:
    """Images of noise; with a color they are redder or bluer."""
    write_photos(
        folder.parent,
        {folder.name: count},
        size=(36, 36),
        top=150,
        tint=60,
        channels={} if color is None else {folder.name: color},
        name=lambda number: f"{number:02d}.png",
        draw=rng,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images of each class to train, 10 to validate and 10 to test."""
    folder, rng = tmp_path_factory.mktemp("colors"), np.random.default_rng(0)
    for split, count in (("train", 24), ("val", 10), ("test", 10)):
        for name, color in zip(CLASSES, (0, 2), strict=True):
            write(folder / split / name, rng, count, color)
    return folder


@pytest.fixture(scope="module", autouse=True)
def _short_trials() -> Iterator[None]:
    """The default space, with three epochs."""
    tables = default_tables(24)
    tables["full"]["epochs"] = 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frostline.search.study.prepare.default_tables", lambda train_images=0: tables)
        yield


def search(folder: Path, root: Path, weights: str, notes: list[str] | None = None, **values: Any) -> Study:
    request = Request(
        data=str(folder),
        name="colors",
        backbone="tiny_network:create",
        weights=weights,
        image_size=32,
        trials=3,
        finals_seeds=2,
        candidates=1,
        device="cpu",
        **{"strategies": ("full",), **values},
    )
    lines: list[str] = [] if notes is None else notes
    return run_search(request, Workspace(root), LineProgress(lines.append))


def numbers(study: Study) -> list[Any]:
    """All numbers of a search that do not measure time."""
    trials = [(each.number, each.state, each.config, each.score, each.curve) for each in study.trials()]
    return [*trials, *((final.identity, final.val_score) for final in study.final_records())]


def test_no_path_hands_test_data_to_the_search(folder: Path, tmp_path: Path, weights: str) -> None:
    """With garbage in place of the test images and labels, all trials and finals are the same, digit for digit."""
    poisoned = tmp_path / "poisoned"
    shutil.copytree(folder, poisoned)
    shutil.rmtree(poisoned / "test")
    rng = np.random.default_rng(1)
    for name in CLASSES:
        write(poisoned / "test" / name, rng, 10, color=None)
    # Copies of training images under the other label: what the audit finds must change nothing.
    shutil.copy(folder / "train/red/00.png", poisoned / "test/blue/00.png")
    shutil.copy(folder / "val/blue/01.png", poisoned / "test/red/01.png")

    clean, other = search(folder, tmp_path / "clean", weights), search(poisoned, tmp_path / "other", weights)
    bare = search(folder, tmp_path / "bare", weights, audit=False)
    assert numbers(clean) == numbers(other) == numbers(bare)
    scores = [[final.test_score for final in study.final_records()] for study in (clean, other)]
    assert scores[0] != scores[1], "the test images are others"
    found = [study.results().data_faults for study in (clean, other, bare)]
    assert [faults and len(faults.leaked_test) for faults in found] == [0, 2, 0]
    assert found[2] is not None
    assert found[2].not_sought == {"copies, label errors": "--no-audit"}


def test_a_test_set_that_is_also_in_train_is_said_with_counts(folder: Path, tmp_path: Path, weights: str) -> None:
    leaky = tmp_path / "leaky"
    shutil.copytree(folder, leaky)
    for name in CLASSES:
        for file in (folder / "test" / name).iterdir():
            shutil.copy(file, leaky / "train" / name / f"test-{file.name}")
    notes: list[str] = []
    study = search(leaky, tmp_path / "work", weights, notes)
    said = "20 of 20 test images (100.0 %) are also in the training or validation images"
    first_trial = next(place for place, line in enumerate(notes) if line.startswith("trial 1/"))
    assert any(said in line and "frostline report colors" in line for line in notes[:first_trial])
    results = study.results()
    assert results.verdict is not None
    assert said in results.verdict.sentence()
    described = json.loads(json.dumps(describe(results)))
    assert described["verdict"]["leaks"] == {"test_images": 20, "share": 1.0, "scores_without": {}}
    assert described["data_faults"]["counts"]["leaked_test_images"] == 20
    names = [
        image["name"] for group in described["data_faults"]["images"]["leaked_test_images"] for image in group["images"]
    ]
    assert {"test/red/03.png", "train/red/test-03.png"} <= set(names)
    gallery = find_gallery(study.facts.fingerprint, cache_dir=study.workspace.images, seed=0)
    page = render_report(results, gallery)
    assert said.replace(" %", "\u00a0%") in page
    assert page.count('alt="test/') >= 12
    assert "Test images that are also in the training or validation images: 20" in page


def test_a_study_is_audited_once(folder: Path, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = search(folder, tmp_path, weights)
    kept = study.data_faults.get()
    assert kept is not None

    def refuse(*_: object) -> None:
        raise AssertionError("audited again")

    monkeypatch.setattr("frostline.search.execution.data_audit.examine", refuse)
    assert search(folder, tmp_path, weights).data_faults.get() == kept
