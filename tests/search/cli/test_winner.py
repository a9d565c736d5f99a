"""The commands for the networks of a finished study: what they print, and how they refuse wrong input."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.networks.export import TrainedModel
from frostline.search.cli import predictions

from ..export.conftest import CLASSES, Finished, finished

__all__ = ["finished"]


def run(*arguments: object, stdin: str = "") -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, obj=TerminalViews())


@pytest.fixture
def place(finished: Finished) -> list[str]:
    return ["--workspace", str(finished.workspace.root)]


@pytest.fixture(scope="module")
def folder(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported folder; ONNX is left to the tests of the export."""
    to = tmp_path_factory.mktemp("exported") / "lora"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("frostline.search.export.folder.missing_onnx_libraries", lambda: ["onnx"])
        ended = run("export", "photos", "-s", "lora", "--to", to, "--workspace", finished.workspace.root)
    assert ended.exit_code == 0, ended.output
    assert "model.onnx is not written: it needs pip install 'frostline[onnx]'" in ended.stderr
    assert f"frostline predict {to}" in ended.stdout
    return to


def table(result: Result, finished: Finished) -> np.ndarray:
    """Probabilities (N, classes) of a result in CSV, in the order of the classes."""
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [Path(row["image"]) for row in rows] == finished.test_files
    found = np.zeros((len(rows), len(CLASSES)))
    for place, row in enumerate(rows):
        for rank in (1, 2, 3):
            found[place, CLASSES.index(row[f"class_{rank}"])] = float(row[f"probability_{rank}"])
    return found


def test_a_folder_and_its_study_give_the_recorded_probabilities(
    finished: Finished, folder: Path, place: list[str]
) -> None:
    for source in ([str(folder)], ["photos", "--strategy", "lora", *place]):
        ended = run("predict", *source, finished.data / "test", "--csv", "--device", "cpu")
        assert ended.exit_code == 0, ended.output
        assert np.abs(table(ended, finished) - finished.calibrated("lora")).max() < 1e-4


def test_a_study_predicts_with_the_recommended_strategy(finished: Finished, place: list[str]) -> None:
    verdict = finished.study.results().verdict
    assert verdict is not None
    ended = run("predict", "photos", finished.data / "test", "--csv", "--batch-size", "4", *place)
    assert np.abs(table(ended, finished) - finished.calibrated(verdict.winner.strategy)).max() < 1e-4


def test_the_most_probable_classes_come_first_in_every_form(finished: Finished, folder: Path) -> None:
    file = finished.test_files[0]
    expected = finished.calibrated("lora")[0]
    best = sorted(range(3), key=lambda place: -expected[place])[:2]
    ended = run("predict", folder, file, "--top", "2", "--json")
    ((predicted,), skipped) = json.loads(ended.stdout).values()
    assert predicted["image"] == str(file)
    assert [each["class"] for each in predicted["top"]] == [CLASSES[place] for place in best]
    assert [each["probability"] for each in predicted["top"]] == pytest.approx(expected[best], abs=1e-4)
    assert skipped == []
    told = ", ".join(f"{CLASSES[place]} {100 * expected[place]:.1f} %" for place in best)
    assert run("predict", folder, file, "--top", "2").stdout == f"{file}: {told}\n"
    header, row = run("predict", folder, file, "--top", "1", "--csv").stdout.splitlines()
    assert header == "image,class_1,probability_1"
    assert row.startswith(f"{file},{CLASSES[best[0]]},")


def test_a_list_comes_from_standard_input(finished: Finished, folder: Path) -> None:
    names = "\n".join([str(file) for file in finished.test_files] + ["", ""])
    ended = run("predict", folder, "-", "--csv", stdin=names)
    assert np.abs(table(ended, finished) - finished.calibrated("lora")).max() < 1e-4


def test_images_that_cannot_be_used_are_reported_and_skipped(finished: Finished, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    good = finished.test_files[0]
    half = tmp_path / "half.jpg"
    half.write_bytes(good.read_bytes()[:200])
    (tmp_path / "empty.png").touch()
    names = [tmp_path / "text.jpg", good, half, tmp_path / "gone.jpg", tmp_path / "empty.png", finished.test_files[1]]
    ended = run("predict", folder, *names, "--json")
    assert ended.exit_code == 1
    document = json.loads(ended.stdout)
    assert [each["image"] for each in document["predictions"]] == [str(names[1]), str(names[5])]
    assert [each["image"] for each in document["skipped"]] == [str(names[place]) for place in (0, 2, 3, 4)]
    assert f"skipped {tmp_path / 'text.jpg'}: not an image of a known format" in ended.stderr
    assert f"skipped {tmp_path / 'gone.jpg'}: No such file or directory" in ended.stderr
    assert "Skipped 4 of 6 images." in ended.stderr
    only = run("predict", folder, tmp_path / "text.jpg", "--csv")
    assert only.exit_code == 1
    assert only.stdout.splitlines() == [f"image,{','.join(f'class_{n},probability_{n}' for n in (1, 2, 3))}"]


def test_control_characters_of_file_names_do_not_reach_the_terminal(
    finished: Finished, folder: Path, tmp_path: Path
) -> None:
    good, bad = tmp_path / "a\x1b]0;x\x07\nb.png", tmp_path / "c\x1b[2J\r.png"
    good.write_bytes(finished.test_files[0].read_bytes())
    bad.write_text("no picture")
    ended = run("predict", folder, good, bad)
    assert ended.exit_code == 1
    assert ended.stdout.startswith(f"{tmp_path}/a\\x1b]0;x\\x07\\nb.png: ")
    assert f"skipped {tmp_path}/c\\x1b[2J\\r.png: " in ended.stderr
    assert (ended.stdout + ended.stderr).replace("\n", "").isprintable()
    # Files for programs have the names as they are.
    document = json.loads(run("predict", folder, good, bad, "--json").stdout)
    assert [document[part][0]["image"] for part in ("predictions", "skipped")] == [str(good), str(bad)]
    (row,) = csv.DictReader(io.StringIO(run("predict", folder, good, "--csv").stdout))
    assert row["image"] == str(good)


def test_progress_on_long_lists_goes_to_standard_error(
    finished: Finished, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictions, "_PACE", -1.0)
    ended = run("predict", folder, finished.data / "test")
    assert "7 of 15 images" in ended.stderr
    assert len(ended.stdout.splitlines()) == 15


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["photo", "DATA"], "photos"),
        (["photos", "DATA", "-s", "lorra"], "Did you mean 'lora'"),
        (["DATA", "DATA"], "is a folder without a network"),
        (["FOLDER", "DATA", "-s", "lora"], "leave out --strategy"),
        (["FOLDER", "-"], "no images in standard input"),
        (["FOLDER", "EMPTY"], "no images in"),
        (["FOLDER", "DATA", "--json", "--csv"], "cannot be combined"),
        (["FOLDER", "DATA", "--device", "gpu"], "Unknown device 'gpu'"),
    ],
)
def test_wrong_input_is_refused_with_what_to_type(
    finished: Finished, folder: Path, place: list[str], tmp_path: Path, arguments: list[str], said: str
) -> None:
    known = {"DATA": str(finished.data / "test"), "FOLDER": str(folder), "EMPTY": str(tmp_path)}
    ended = run("predict", *(known.get(each, each) for each in arguments), *place)
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
    assert not ended.stdout


def test_too_large_a_batch_says_so(finished: Finished, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(model: TrainedModel, canvases: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(TrainedModel, "probabilities", full)
    ended = run("predict", folder, finished.data / "test")
    assert ended.exit_code == 2
    assert "Try --batch-size 16" in ended.stderr


def test_export_refuses_what_it_cannot_export(finished: Finished, place: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    for study, to, options, said in (
        ("photo", "new", [], "photos"),
        ("photos", "new", ["-s", "full"], "Unknown strategy in this study 'full'"),
        ("photos", "", [], "is not empty"),
    ):
        ended = run("export", study, "--to", tmp_path / to, *options, *place)
        assert ended.exit_code == 2, ended.output
        assert said in ended.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_damaged_folder_says_so(folder: Path, finished: Finished, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    ended = run("predict", tmp_path, finished.data / "test")
    assert ended.exit_code == 2
    assert f"{tmp_path} holds no network that Frostline can load" in ended.stderr


# Predicts with libraries blocked that a folder does not need.
LIGHT = """
import sys
for name in ("optuna", "mlflow", "sqlalchemy", "plotly"):
    sys.modules[name] = None
from frostline.dashboards.cli import TerminalViews, app
app(["predict", *sys.argv[1:]], obj=TerminalViews())
"""


@pytest.mark.slow  # A process. What an exported folder gives is quick, and so is which libraries a reader imports.
def test_a_folder_needs_neither_optuna_nor_mlflow(folder: Path, finished: Finished, tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    Image.open(finished.test_files[0]).save(file)
    ended = subprocess.run(
        [sys.executable, "-c", LIGHT, str(folder), str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # The user's backbone comes from the folder.
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(f"{file}: ")


def scans(finished: Finished) -> pandas.DataFrame:
    """A table of the test images, without labels, beside nothing of them."""
    paths = [file.relative_to(finished.data).as_posix() for file in finished.test_files]
    return pandas.DataFrame({"scan": paths, "note": [f"a, {place}" for place in range(len(paths))], "class_1": "old"})


def probabilities(rows: list[dict[str, str]]) -> np.ndarray:
    return np.array(
        [
            [
                float(row[f"probability_{rank}"])
                for name in CLASSES
                for rank in (1, 2, 3)
                if row[f"class_{rank}"] == name
            ]
            for row in rows
        ]
    )


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_a_table_gets_the_predictions_of_its_rows(
    finished: Finished, folder: Path, tmp_path: Path, suffix: str
) -> None:
    table, file = scans(finished), tmp_path / f"scans.{suffix}"
    table = table.assign(fold=["train", "test", ""] * 5, label="").sample(frac=1, random_state=0)
    if suffix == "parquet":
        table.to_parquet(file, index=False)
    else:
        table.to_csv(file, index=False, sep="\t" if suffix == "tsv" else ",")
    ended = run("predict", folder, file, "--path-column", "scan", "--image-root", finished.data, "--csv")
    assert ended.exit_code == 0, ended.output
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert list(rows[0])[:4] == ["scan", "note", "fold", "label"]
    assert len(rows[0]) == 4 + 2 * 3
    assert [(row["scan"], row["note"], row["fold"]) for row in rows] == list(
        zip(table["scan"], table["note"], table["fold"], strict=True)
    )
    expected = finished.calibrated("lora")[table.index.to_numpy()]
    assert np.abs(probabilities(rows) - expected).max() < 1e-4


def test_images_inside_a_table_are_classified(finished: Finished, folder: Path, tmp_path: Path) -> None:
    """As ``datasets`` stores them: a struct of bytes and path, in Parquet and in a saved folder."""
    rows = {"image": [str(file) for file in finished.test_files], "number": list(range(len(finished.test_files)))}
    saved = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_HUB_OFFLINE", True)
        datasets.disable_progress_bars()
        datasets.DatasetDict({"test": saved}).save_to_disk(str(tmp_path / "saved"))
    ended = run("predict", folder, tmp_path / "saved", "--csv")
    assert ended.exit_code == 0, ended.output
    found = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [row["image"] for row in found] == [file.name for file in finished.test_files]
    assert {row["split"] for row in found} == {"test"}
    assert np.abs(probabilities(found) - finished.calibrated("lora")).max() < 1e-4
    pixels = [{"bytes": file.read_bytes(), "path": None} for file in finished.test_files]
    pandas.DataFrame({"image": pixels}).to_parquet(tmp_path / "x.parquet")
    document = json.loads(run("predict", folder, tmp_path / "x.parquet", "--json", "--top", "1").stdout)
    assert [each["image"] for each in document["predictions"]] == [f"row {number}" for number in range(1, 16)]
    best = finished.calibrated("lora").argmax(axis=1)
    assert [each["top"][0]["class"] for each in document["predictions"]] == [CLASSES[place] for place in best]


def test_rows_whose_images_cannot_be_used_stay(finished: Finished, folder: Path, tmp_path: Path) -> None:
    table = scans(finished)
    (tmp_path / "half.jpg").write_bytes(finished.test_files[0].read_bytes()[:100])
    table.loc[3, "scan"] = str(tmp_path / "half.jpg")
    # The same image in two rows.
    table.loc[5, "scan"] = table.loc[4, "scan"]
    table.to_csv(tmp_path / "x.csv", index=False)
    options = ["--path-column", "scan", "--image-root", finished.data]
    assert "--allow-outside" in run("predict", folder, tmp_path / "x.csv", *options).stderr
    ended = run("predict", folder, tmp_path / "x.csv", *options, "--allow-outside", "--csv")
    assert ended.exit_code == 1
    assert "Skipped 1 of 15 images" in ended.stderr
    rows = list(csv.DictReader(io.StringIO(ended.stdout)))
    assert [row["scan"] for row in rows] == list(table["scan"])
    assert [row["class_1"] == "" for row in rows] == [place == 3 for place in range(15)]
    assert rows[4]["probability_1"] == rows[5]["probability_1"]
    document = json.loads(run("predict", folder, tmp_path / "x.csv", *options, "--allow-outside", "--json").stdout)
    assert document["skipped"][0]["row"] == {"scan": str(tmp_path / "half.jpg"), "note": "a, 3", "class_1": "old"}
    assert document["predictions"][0]["row"]["note"] == "a, 0"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["TABLE"], "no column of paths"),
        (["TABLE", "--path-column", "scam"], "Did you mean 'scan'"),
        (["TABLE", "--path-column", "scan"], "--image-root"),
        (["TABLE", "DATA", "--path-column", "scan"], "name it alone"),
        (["DATA", "--path-column", "scan"], "--path-column: there is no table"),
        (["GONE"], "No such file"),
        (["EMPTY"], "no path in line 3"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(
    finished: Finished, folder: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    scans(finished).to_csv(tmp_path / "x.csv", index=False)
    (tmp_path / "empty.csv").write_text("path,note\nx.png,1\n,2\n")
    known = {
        "TABLE": tmp_path / "x.csv",
        "EMPTY": tmp_path / "empty.csv",
        "GONE": tmp_path / "gone.csv",
        "DATA": finished.data,
    }
    ended = run("predict", folder, *(known.get(each, each) for each in arguments))
    assert ended.exit_code == 2, ended.output
    assert said in ended.stderr
