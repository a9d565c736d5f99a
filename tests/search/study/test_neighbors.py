"""The textbook's advice in a workspace of several studies: in JSON, in the list of studies and in the report."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.config import BackboneSpec
from frostline.objectives.networks import BackbonePool
from frostline.search.execution import run_search
from frostline.search.study import Request, Study, finished_neighbors
from frostline.storage.errors import StorageError
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tracking_database: Path) -> Workspace:
    """Two finished studies with advice, one without, and one that has not begun."""
    root = tmp_path_factory.mktemp("workspace")
    shutil.copy(tracking_database, root)
    (root / "space.toml").write_text("[shared]\nepochs = 2\nbatch_size = 16\n\n[feature_extraction]\n\n[full]\n")
    model = BackbonePool(BackboneSpec("tiny_network:create", "none", 32)).pretrained.model
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, root / "tiny.safetensors")
    values: dict[str, Any] = {"backbone": "tiny_network:create", "image_size": 32, "trials": 1, "finals_seeds": 2}
    values |= {
        "data": few_digits(),
        "space": root / "space.toml",
        "device": "cpu",
        "strategies": ("feature_extraction",),
    }
    place = Workspace(root)
    for name, more in {"one": {}, "two": {"strategies": ("full",)}, "bare": {"audit": False}}.items():
        weights = str(root / "tiny.safetensors")
        run_search(Request(**{**values, "name": name, "weights": weights, **more}), place).close()
    known = Study.load("one", place)
    Study.create(known.settings.model_copy(update={"name": "begun"}), known.facts, place, None)
    return place


def invoke(place: Workspace, *arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--workspace", str(place.root)], obj=TerminalViews())
    assert result.exit_code == 0, result.output
    return result.stdout


def test_neighbors_are_the_other_finished_studies_that_can_be_judged(place: Workspace) -> None:
    assert [each.settings.name for each in finished_neighbors(Study.load("one", place))] == ["two"]
    assert [each.settings.name for each in finished_neighbors(Study.load("bare", place))] == ["two", "one"]


def test_a_study_that_cannot_be_read_does_not_cost_the_report(
    place: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(study: Study) -> Any:
        raise StorageError("another version recorded it")

    monkeypatch.setattr(Study, "results", read)
    assert finished_neighbors(Study.load("one", place)) == []


def test_advice_and_outcome_are_in_json_and_described(place: Workspace) -> None:
    every = {each["study"]: each["textbook"] for each in json.loads(invoke(place, "status", "--json"))}
    assert every["bare"] is every["begun"] is None
    assert (every["one"]["advice"], every["one"]["outcome"]) == ("feature_extraction", "winner")
    assert (every["two"]["advice"], every["two"]["outcome"]) == ("feature_extraction", "absent")
    assert every["one"]["images_per_class"] == Study.load("one", place).facts.counts["train"] / 3
    assert every["one"]["probe_gap"] == every["two"]["probe_gap"]
    section = (Path(__file__).parents[3] / "docs/json.md").read_text().split("## `textbook`")[1].split("\n## ")[0]
    told = set(re.findall(r"^\| (.*?) \|", section, flags=re.MULTILINE)) - {"value", "---"}
    assert {name for cell in told for name in re.findall(r"`(\w+)`", cell)} == set(every["one"])


def test_it_is_said_for_a_study_counted_for_all_and_listed_in_the_report(place: Workspace) -> None:
    advice = Study.load("one", place).results().textbook
    assert advice is not None
    assert advice.sentence() in " ".join(invoke(place, "status", "one").split())
    counted = "Of the one finished study with such advice, the advised strategy was the recommended one in 1, tied in 0"
    assert f"The textbook's advice: {counted}" in " ".join(invoke(place, "status").split())
    page = Path(invoke(place, "report", "one").strip().splitlines()[-1]).read_text().replace("\u00a0", " ")
    assert advice.sentence() in page
    assert counted in page
    table = page.split('id="textbook-title"')[1].split("</table>")[0]
    assert re.findall(r'data-title="study">([^<]+)', table) == ["one", "two"]
    assert re.findall(r'data-title="outcome">([^<]+)', table) == ["winner", "absent"]
    assert "textbook-title" not in Path(invoke(place, "report", "bare").strip().splitlines()[-1]).read_text()
