"""The program's own options, and the options that its commands share."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import app
from frostline.objectives.data import ListingOptions
from frostline.search.cli import options as options_module
from frostline.search.cli.curve import curve
from frostline.search.cli.search import resume, search, verdict
from frostline.search.slots.resources import Resources
from frostline.search.study.request import Request
from frostline.storage.workspace import Workspace


def test_the_version_is_that_of_the_package() -> None:
    said = CliRunner().invoke(app, ["--version"], prog_name="frostline")
    assert (said.exit_code, said.output) == (0, f"frostline {version('frostline')}\n")


def test_a_shell_completes_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "_FROSTLINE_COMPLETE": "complete_bash",
        "COMP_WORDS": "frostline st",
        "COMP_CWORD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    said = CliRunner().invoke(app, [], prog_name="frostline")
    assert said.output.split() == ["status", "stop"]


def test_resource_options_are_the_fields_of_resources_with_their_defaults() -> None:
    declared = {field.name: field.default for field in fields(Resources)}
    for command, left_out in ((search, set()), (resume, set()), (verdict, {"engine", "address"})):
        parameters = inspect.signature(command).parameters
        offered = {name: parameters[name].default for name in options_module.RESOURCES if name in parameters}
        assert offered == {name: default for name, default in declared.items() if name not in left_out}
        assert "resources" not in parameters


def test_an_option_of_search_has_the_name_of_its_field() -> None:
    others = {"ctx", "other_data", "storage", "artifacts", "workspace", "as_json", "dry_run"}
    options = set(inspect.signature(search).parameters) - others
    listing = {field.name for field in fields(ListingOptions)}
    assert options == {field.name for field in fields(Request)} - {"file", "listing"} | listing


def test_a_command_gets_its_resources_together() -> None:
    got = []

    @options_module.resource_options("device", "workers")
    def command(study: str, resources: options_module.ResourceValues, *, seed: int = 0) -> None:
        got.append((study, resources, seed))

    command(study="birds", device="cpu", workers=2, seed=1)
    assert got == [("birds", {"device": "cpu", "workers": 2}, 1)]


def test_a_command_gets_its_common_options_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the groups in its signature, each with its default."""
    monkeypatch.delenv("FROSTLINE_STORAGE", raising=False)
    got = []

    @options_module.common_options
    @options_module.resource_options("device")
    def command(
        study: str, *, common: options_module.CommonValues, resources: options_module.ResourceValues, seed: int = 0
    ) -> None:
        got.append((study, common, resources, seed))

    offered = {name: parameter.default for name, parameter in inspect.signature(command).parameters.items()}
    options = {"storage": None, "artifacts": None, "workspace": None, "as_json": False, "device": "auto", "seed": 0}
    assert list(offered.items()) == [("study", inspect.Parameter.empty), *options.items()]
    command(study="birds", storage=None, artifacts=None, workspace=tmp_path, as_json=True, device="cpu", seed=1)
    common = options_module.CommonValues(storage=None, artifacts=None, workspace=tmp_path, as_json=True)
    assert got == [("birds", common, {"device": "cpu"}, 1)]
    assert common.locate() == Workspace.locate(tmp_path)


@pytest.mark.parametrize("command", [search, resume, verdict, curve])
def test_commands_that_bring_results_have_the_common_options(command: Callable[..., None]) -> None:
    parameters = inspect.signature(command).parameters
    offered = {name: parameters[name].default for name in ("storage", "artifacts", "workspace", "as_json")}
    assert offered == {"storage": None, "artifacts": None, "workspace": None, "as_json": False}
    assert "common" not in parameters


def test_a_request_needs_no_torch() -> None:
    script = (
        "import sys; import frostline.search.space.space; from frostline.search.study import Request; "
        "Request('photos'); "
        "print({'torch', 'torchvision', 'mlflow'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
