"""The diagnosis of the pretrained network: from the command to terminal, report and JSON; nothing else sees it."""

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
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks import BackbonePool
from frostline.search.analysis import compare_cuts
from frostline.search.execution import resume, run_search, run_truncation, truncation
from frostline.search.slots.resources import Resources
from frostline.search.study import Request, Study
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

CPU = Resources("cpu")
UNITS = 7
SPACE = """
[feature_extraction]
epochs = 4
learning_rate = { low = 1e-3, high = 1e-2, log = true, default = 3e-3 }
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a study with its verdict, on weights of a file; tests work on copies."""
    root = tmp_path_factory.mktemp("finished")
    model = BackbonePool(BackboneSpec("tiny_network:create", "none", 32)).pretrained.model
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, root / "tiny.safetensors")
    search(root, str(root / "tiny.safetensors"))
    return root


def search(root: Path, weights: str, **more: Any) -> Study:
    (root / "space.toml").write_text(SPACE)
    values: dict[str, Any] = {"backbone": "tiny_network:create", "weights": weights, "image_size": 32, "trials": 2}
    values |= {"space": root / "space.toml", "finals_seeds": 2, "device": "cpu", "name": "tiny", **more}
    return run_search(Request(data=few_digits(), **values), Workspace(root))


@pytest.fixture
def place(finished: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(finished, tmp_path / "copy")
    return Workspace(tmp_path / "copy")


def invoke(place: Workspace, *arguments: str) -> Any:
    return CliRunner().invoke(app, [*arguments, "--workspace", str(place.root)], obj=TerminalViews())


def numbers(study: Study) -> list[Any]:
    """All numbers of a study that do not measure time."""
    trials = [(each.number, each.state, each.config, each.score, each.curve) for each in study.trials()]
    return [*trials, *((final.identity, final.test_score) for final in study.final_records())]


@pytest.fixture(scope="module")
def truncated(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The finished study after the command, and what this printed; tests work on copies."""
    root = tmp_path_factory.mktemp("truncated") / "copy"
    shutil.copytree(finished, root)
    result = invoke(Workspace(root), "truncate", "tiny", "--device", "cpu")
    assert result.exit_code == 0, result.output
    return root, result.stdout


@pytest.fixture
def cut(truncated: tuple[Path, str], tmp_path: Path) -> Workspace:
    shutil.copytree(truncated[0], tmp_path / "cut")
    return Workspace(tmp_path / "cut")


def test_the_command_shows_every_cut_in_terminal_report_and_json(truncated: tuple[Path, str]) -> None:
    place, printed = Workspace(truncated[0]), truncated[1]
    assert f"probe {UNITS}/{UNITS}" in printed
    found = Study.load("tiny", place).results().truncation
    assert found is not None
    # The terminal folds lines.
    assert found.sentence() in " ".join(printed.split())
    rows = [line.split()[:2] for line in printed.splitlines() if re.match(r" *\d+ +(stem|blocks)", line)]
    assert rows == [[str(cut.units), cut.unit] for cut in found.cuts]
    page = place.report("tiny").read_text()
    assert 'id="truncation-title">A smaller network' in page
    assert found.sentence() in page.replace("&#39;", "'")
    described = json.loads(invoke(place, "status", "tiny", "--json").stdout)["truncation"]
    assert [cut["units"] for cut in described["cuts"]] == list(range(1, UNITS + 1))
    assert described["cuts"][-1]["difference"] == 0
    assert described["sentence"] == found.sentence()
    section = (Path(__file__).parents[3] / "docs/json.md").read_text().split("## `truncation`")[1].split("\n## ")[0]
    told = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", section)))) - {"null"}
    names = (
        set(described)
        | set(described["smaller"] or ("units", "confirmed", "by_validation"))
        | set(described["cuts"][0])
    )
    assert told == names | {"score"}


def test_neither_trials_nor_finals_nor_the_verdict_see_it(place: Workspace, cut: Workspace) -> None:
    before = Study.load("tiny", place).results()
    after = Study.load("tiny", cut).results()
    assert numbers(Study.load("tiny", cut)) == numbers(Study.load("tiny", place))
    assert before.verdict is not None
    assert after.verdict is not None
    assert after.verdict.sentence() == before.verdict.sentence()
    # A search that goes on after it is the one that goes on without it.
    with_it = resume("tiny", cut, trials=4, resources=CPU)
    without = resume("tiny", place, trials=4, resources=CPU)
    assert numbers(with_it) == numbers(without)
    assert with_it.results().truncation == after.truncation


@pytest.mark.slow  # Each fold's probes are quick in tests/objectives.
def test_with_folds_every_fold_validates_the_cuts(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search(tmp_path, str(finished / "tiny.safetensors"), folds=3, trials=1, finals_seeds=1)
    seen: dict[str, Any] = {}

    def compare(probes: Any, val_labels: Any, *others: Any, **named: Any) -> Any:
        seen.update(probes=probes, labels=val_labels)
        return compare_cuts(probes, val_labels, *others, **named)

    monkeypatch.setattr(truncation, "compare_cuts", compare)
    found = run_truncation("tiny", Workspace(tmp_path), resources=CPU).results().truncation
    assert found is not None
    facts = Study.load("tiny", Workspace(tmp_path)).facts
    assert len(seen["labels"]) == sum(facts.folds) == facts.counts["train"] + facts.counts["val"]
    for cut, probe in zip(found.cuts, seen["probes"], strict=True):
        right = probe.val_probabilities.argmax(axis=1) == seen["labels"]
        assert cut.val_score == pytest.approx(right.mean())


def test_it_is_made_once_on_a_device(cut: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Study.load("tiny", cut).results().truncation
    with monkeypatch.context() as patch:
        patch.setattr(truncation, "probe_cuts", lambda *_: pytest.fail("probed again"))
        assert run_truncation("tiny", cut, resources=CPU).results().truncation == first
    monkeypatch.setattr(truncation, "describe_device", lambda device: "another")
    other = run_truncation("tiny", cut, resources=CPU).results().truncation
    assert first is not None
    assert other is not None
    assert other.device == "another"
    assert [cut.test_score for cut in other.cuts] == [cut.test_score for cut in first.cuts]


def test_what_cannot_be_is_refused_with_what_to_type(place: Workspace, tmp_path: Path) -> None:
    known = Study.load("tiny", place)
    settings = known.settings.model_copy(update={"weights": "none"})
    Study.create(settings, known.facts, Workspace(tmp_path / "empty"), None)
    with pytest.raises(InvalidInputError) as refused:
        run_truncation("tiny", Workspace(tmp_path / "empty"), resources=CPU)
    assert "has no pretrained weights (--weights none)" in str(refused.value)
    assert "No trial of study 'tiny' is complete. Resume it: frostline resume tiny --workspace" in str(refused.value)
    assert invoke(place, "truncate", "tinny").exit_code == 2
