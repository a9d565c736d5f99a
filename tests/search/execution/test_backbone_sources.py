"""Searches end to end with a model of timm and with a function of the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.backbones.model_sources import model_source

from ...few_digits import few_digits
from ...objectives import zoo

STRATEGIES = ("feature_extraction", "full", "scratch")
SPACE = "[shared]\nepochs = 2\nbatch_size = 16\n" + "".join(
    f"\n[{name}]\nlearning_rate = {{ low = 1e-3, high = 1e-2, log = true }}\n" for name in STRATEGIES
)
FACTORY = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 8, 3, 2), nn.ReLU())
    def forward(self, x):
        return self.body(x)

def factory(): return Net()
"""


def invoke(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [str(arg) for arg in args], obj=TerminalViews(), prog_name="frostline")


def assert_searches(backbone: str, weights: str | Path, root: Path) -> None:
    (root / "space.toml").write_text(SPACE)
    result = invoke(
        *("search", few_digits(), "--backbone", backbone, "--weights", weights, "--image-size", "32"),
        *(
            "--space",
            root / "space.toml",
            "--trials",
            "3",
            "--seeds",
            "1",
            "--candidates",
            "1",
            "--name",
            "s",
            "--device",
            "cpu",
        ),
        *("--workspace", root, "--json"),
    )
    assert result.exit_code == 0, result.output
    described = json.loads(result.stdout)
    complete = {name: counts["complete"] for name, counts in described["strategies"].items()}
    assert complete == dict.fromkeys(STRATEGIES, 1)
    assert len(described["verdict"]["contenders"]) == len(STRATEGIES)


# What a kept network brings is enough: neither Frostline nor the folder of the user's module is there.
LOAD = """
import importlib, pathlib, sys
sys.modules["frostline"] = sys.modules["mlflow"] = None
for folder in map(pathlib.Path, sys.argv[1:]):
    sys.path.insert(0, str(folder / "code"))
    (package,) = [path.name for path in (folder / "code").glob("frostline_*")]
    model = importlib.import_module(f"{package}.networks.export").load_network(folder / "network", "cpu")
    print(model.predict([folder / "example.png"]).sum())
"""


def assert_loads_elsewhere(models: Path) -> None:
    folders = sorted(map(str, models.iterdir()))
    assert len(folders) == len(STRATEGIES)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = subprocess.run(
        [sys.executable, "-P", "-c", LOAD, *folders], env=environment, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert [float(line) for line in said.stdout.split()] == pytest.approx([1.0] * len(STRATEGIES))


@pytest.fixture
def factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a factory in the current folder; the folder ``elsewhere`` has none."""
    (tmp_path / "my_module.py").write_text(FACTORY)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    forget()
    yield "my_module:factory"
    forget()


def forget() -> None:
    """As in a new process."""
    sys.modules.pop("my_module", None)
    model_source.cache_clear()


@pytest.mark.slow  # Cuts of timm's models and the search with a factory are quick.
def test_a_model_of_timm_runs_to_a_verdict(tmp_path: Path) -> None:
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.pt")
    assert_searches("timm:test_resnet", tmp_path / "weights.pt", tmp_path)
    assert_loads_elsewhere(tmp_path / "models" / "s")


@pytest.mark.parametrize("loads", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["here", "elsewhere"])
def test_a_factory_runs_to_a_verdict_and_is_missed_elsewhere(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: bool
) -> None:
    assert_searches(factory, "DEFAULT", tmp_path)
    if loads:
        assert_loads_elsewhere(tmp_path / "models" / "s")
    monkeypatch.chdir(tmp_path / "elsewhere")
    forget()
    refused = invoke("resume", "s", "--workspace", tmp_path)
    assert refused.exit_code == 2
    assert "no module 'my_module' here" in refused.stderr
    assert "PYTHONPATH" in refused.stderr


def test_units_are_shown(factory: str) -> None:
    units = json.loads(invoke("backbones", factory, "--image-size", "32", "--json").stdout)
    assert [unit["name"] for unit in units] == ["body.0", "body.3"]
    shown = invoke("backbones", "timm:resnet10t")
    assert shown.exit_code == 0, shown.output
    assert "layer4.0" in shown.stdout
    assert "kept whole" not in shown.stdout


def test_what_could_not_be_traced_is_said_below_the_units(factory: str) -> None:
    shown = invoke("backbones", f"{zoo.__name__}:with_data_dependent_block", "--image-size", "32")
    assert shown.exit_code == 0, shown.output
    assert "\n1 is kept whole, because torch.fx cannot trace it: " in shown.stdout
    assert "It was measured with real data, which is slower: " in shown.stdout
