"""Faults of the data in MLflow: counted on the parent run, scores without leaked images, words in the note."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from PIL import Image

from frostline.search.execution import run_search
from frostline.search.study import Request
from frostline.storage.workspace import Workspace

pytestmark = pytest.mark.usefixtures("mlflow_records")


def test_faults_of_the_data_are_counted_on_the_parent_run(tmp_path: Path) -> None:
    folder, rng = tmp_path / "colors", np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 5), ("test", 5)):
        for name in ("red", "blue"):
            (folder / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (36, 36, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{number}.png")
    shutil.copy(folder / "test/red/0.png", folder / "train/blue/leaked.png")
    values = {"backbone": "tiny_network:create", "weights": "none", "image_size": 32, "trials": 1, "finals_seeds": 2}
    request = Request(data=str(folder), name="leaky", strategies=("full",), device="cpu", **values)
    study = run_search(request, Workspace(tmp_path / "work"))
    verdict = study.results().verdict
    assert verdict is not None
    assert verdict.leaks is not None

    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    experiment = client.get_experiment_by_name("leaky")
    assert experiment is not None
    (parent,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'leaky'")
    metrics, note = parent.data.metrics, parent.data.tags["mlflow.note.content"]
    assert metrics["data/leaked_test_images"] == metrics["data/pictures_under_several_labels"] == 1
    assert metrics["data/likely_label_errors"] == 0
    assert metrics["test_score_without_leaks"] == pytest.approx(verdict.leaks.scores["full"])
    assert "Faults in the data, which the report lists: 1 of 10 test images (10.0 %)" in note
    assert "But 1 of 10 test images (10.0 %) is also in the training or validation images" in note
