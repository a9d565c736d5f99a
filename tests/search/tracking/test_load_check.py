"""Networks of users' modules become models only if a machine without Frostline and their folder can load them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frostline.objectives.backbones.model_sources import model_source
from frostline.search.execution.run import run_search
from frostline.search.study.observer import Observer
from frostline.search.study.request import Request
from frostline.search.study.study import Study
from frostline.search.tracking.load_check import load_faults
from frostline.search.tracking.shipped_code import copy_code
from frostline.storage.workspace import Workspace

SPACE = "[shared]\nepochs = 1\nbatch_size = 16\n\n[feature_extraction]\nlearning_rate = 3e-3\n"
NET = """
from torch import nn
{head}
def factory():
    {body}
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, 2), nn.ReLU())
"""
MODULES = ("my_net", "my_parts", "my_late", "my_package", "my_package.inner", "my_cycle", "json_")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, from which modules can be imported."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    forget()
    yield tmp_path / "here"
    forget()


def forget() -> None:
    for name in MODULES:
        sys.modules.pop(name, None)
    model_source.cache_clear()


class Notes(Observer):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str) -> None:
        self.told.append(message)


def search(root: Path, notes: Notes, size: int | None = 32) -> Study:
    (root / "space.toml").write_text(SPACE)
    values = {"trials": 1, "finals_seeds": 1, "name": "net", "space": root / "space.toml", "device": "cpu"}
    request = Request("sklearn:digits[0-2]@60", "my_net:factory", "none", size, **values)
    return run_search(request, Workspace(root / "ws"), notes)


def registered(study: Study) -> list[str]:
    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    return [model.name for model in client.search_registered_models()]


# As somebody does who has only the model: with MLflow, in another folder.
SERVE = """
import sys
sys.modules["frostline"] = None
import mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
print(model.predict(pandas.DataFrame({"image": [open(sys.argv[2], "rb").read()]})).to_json(orient="records"))
"""


@pytest.mark.slow  # Three processes. What is copied, and that it is loaded elsewhere, is quick.
@pytest.mark.usefixtures("mlflow_records", "models_loaded")
def test_a_module_with_others_beside_it_and_a_preprocessing_is_served_elsewhere(folder: Path, tmp_path: Path) -> None:
    head = (
        "import my_parts\nfrom my_package.inner import width\n"
        'preprocessing = {"image_size": 32, "resize_size": 36, "interpolation": "bicubic", "mean": [0.5, 0.4, 0.3],'
        ' "std": [0.2, 0.2, 0.2]}'
    )
    body = "import my_late; assert my_late.value == my_parts.value == width == 3"
    (folder / "my_net.py").write_text(NET.format(head=head, body=body) + "factory.preprocessing = preprocessing\n")
    (folder / "my_parts.py").write_text("value = 3\n")
    (folder / "my_late.py").write_text("from my_parts import value\n")
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").write_text("")
    (folder / "my_package" / "inner.py").write_text("width = 3\n")
    notes = Notes()
    study = search(tmp_path, notes, size=None)
    assert registered(study) == ["net"], notes.told
    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    source = str(client.get_model_version_by_alias("net", "champion").source).removeprefix("file://")
    (kept,) = study.workspace.models("net").iterdir()
    card = json.loads((kept / "network" / "config.json").read_text())
    assert (card["preprocessing"]["resize_size"], card["preprocessing"]["mean"]) == (36, [0.5, 0.4, 0.3])
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-c", SERVE, source, str(kept / "example.png")],
        cwd=tmp_path / "elsewhere",
        env={**inherited, "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout.splitlines()[-1])
    assert sum(value for name, value in row.items() if name != "label") == pytest.approx(1, abs=1e-4)


# What a module may not do, and what is said of it.
WRONG = {
    "file of the folder": ("from pathlib import Path", "Path('sizes.txt').read_text()", "sizes.txt"),
    "file beside it": (
        "from pathlib import Path\nPath(__file__).with_name('sizes.txt').read_text()",
        "pass",
        "sizes.txt",
    ),
    "frostline": ("from frostline.objectives.preprocessing import Preprocessing", "pass", "frostline"),
}


@pytest.mark.slow  # Which networks cannot be loaded is quick, in one process for all reasons.
@pytest.mark.usefixtures("mlflow_records", "models_loaded")
def test_a_network_that_cannot_be_loaded_elsewhere_keeps_its_verdict_and_is_no_model(
    folder: Path, tmp_path: Path
) -> None:
    head, body, reason = WRONG["file beside it"]
    (folder / "my_net.py").write_text(NET.format(head=head, body=body))
    (folder / "sizes.txt").write_text("3")
    notes = Notes()
    study = search(tmp_path, notes)
    assert study.results().verdict is not None
    assert registered(study) == []
    (told,) = [note for note in notes.told if "not registered" in note]
    assert "networks of feature_extraction" in told
    assert reason in told
    assert "the verdict stands" in told
    assert "--weights FILE" in told
    client = MlflowClient(tracking_uri=study.workspace.tracking_url)
    experiment = client.get_experiment_by_name("net")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    (tag,) = [tags["frostline.not_registered"] for run in runs if "frostline.not_registered" in (tags := run.data.tags)]
    assert reason in tag
    (note,) = [tags["mlflow.note.content"] for run in runs if "mlflow.note.content" in (tags := run.data.tags)]
    assert "is not registered as a model" in note
    assert "@champion" not in note
    # One seed has no standard deviation.
    (row,) = [line for line in note.splitlines() if line.startswith("| `")]
    assert re.search(r"\| \d+\.\d&ensp; \|", row)
    assert "±" not in row
    assert client.search_logged_models([experiment.experiment_id]) == []


def test_networks_are_loaded_once_each_from_what_they_bring(folder: Path, tmp_path: Path) -> None:
    (folder / "my_net.py").write_text(NET.format(head="import my_parts", body="pass"))
    (folder / "my_parts.py").write_text("")
    (folder / "sizes.txt").write_text("3")
    study = search(tmp_path, Notes())
    (kept,) = study.workspace.models("net").iterdir()
    broken = shutil.copytree(kept, kept.with_name("broken"))
    (broken / "code" / "my_parts.py").unlink()
    wrong = {shutil.copytree(kept, kept.with_name(name)): WRONG[name] for name in WRONG}
    for place, (head, body, _) in wrong.items():
        (place / "code" / "my_net.py").write_text(NET.format(head=head, body=body))
    # The one before leaves nothing behind that the next could find.
    faults = load_faults([kept, broken, *wrong])
    assert faults.keys() == {broken, *wrong}
    assert "my_parts" in faults[broken]
    for place, (*_, reason) in wrong.items():
        assert reason in faults[place]
    (kept / "network" / "config.json").unlink()
    assert load_faults([kept]) == {}


def copied(folder: Path, target: Path) -> set[str]:
    """Names of the user's files that a network of ``my_net`` brings."""
    model_source("my_net:factory")
    copy_code(target, "my_net:factory")
    files = [file.relative_to(target) for file in target.rglob("*") if file.is_file()]
    return {file.as_posix() for file in files if not file.parts[0].startswith("frostline_")}


def test_only_what_python_finds_beside_the_module_is_copied(folder: Path, tmp_path: Path) -> None:
    head = "import json, numpy, my_cycle\ntry:\n    import my_nothing\nexcept ImportError:\n    pass\nimport photos_"
    (folder / "my_net.py").write_text(NET.format(head=head, body="pass"))
    (folder / "my_cycle.py").write_text("import my_net\n")
    # Python has libraries of these names, and takes those.
    for name in ("json.py", "numpy.py", "unused.py", "notes.txt"):
        (folder / name).write_text("")
    # A folder that Python takes for a package of modules.
    (folder / "photos_" / "cats").mkdir(parents=True)
    (folder / "photos_" / "cats" / "1.jpg").write_bytes(b"")
    (folder / "photos_" / "labels.py").write_text("")
    assert copied(folder, tmp_path / "code") == {"my_net.py", "my_cycle.py", "photos_/labels.py"}
    sys.modules.pop("photos_", None)


def test_a_module_that_was_edited_brings_what_it_imports_now(folder: Path, tmp_path: Path) -> None:
    (folder / "my_net.py").write_text(NET.format(head="", body="pass"))
    (folder / "my_late.py").write_text("")
    assert copied(folder, tmp_path / "code") == {"my_net.py"}
    (folder / "my_net.py").write_text(NET.format(head="import my_late", body="pass"))
    assert copied(folder, tmp_path / "again") == {"my_net.py", "my_late.py"}


def test_a_module_of_a_package_brings_the_package_and_what_is_beside_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").write_text("")
    (folder / "my_package" / "inner.py").write_text(
        NET.format(head="from . import sizes\nimport my_parts", body="pass")
    )
    (folder / "my_package" / "sizes.py").write_text("")
    (folder / "my_package" / "table.csv").write_text("1")
    (folder / "my_parts.py").write_text("")
    model_source("my_package.inner:factory")
    copy_code(tmp_path / "code", "my_package.inner:factory")
    files = {file.relative_to(tmp_path / "code").as_posix() for file in (tmp_path / "code").rglob("*")}
    expected = {f"my_package/{name}" for name in ("__init__.py", "inner.py", "sizes.py", "table.csv")}
    assert {name for name in files if not name.startswith("frostline_")} == {*expected, "my_package", "my_parts.py"}
    sys.modules.pop("my_package.sizes", None)
