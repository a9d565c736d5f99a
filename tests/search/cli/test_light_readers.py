"""Commands that only read a study import neither torch nor torchvision: loading them takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.search import Request, run_search
from frostline.storage.workspace import Workspace

# Runs a command as `frostline` does, then tells which heavy libraries it has loaded.
RUN = """
import json, sys
from frostline.dashboards.cli import app, TerminalViews
try:
    app(sys.argv[1:], obj=TerminalViews())
except SystemExit as ended:
    code = ended.code or 0
print(json.dumps([code, sorted({"torch", "torchvision", "mlflow"} & sys.modules.keys())]))
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("light")
    values = {
        "backbone": "tiny_network:create",
        "weights": "none",
        "image_size": 32,
        "strategies": ("feature_extraction",),
    }
    request = Request(data="sklearn:digits[0-2]@60", name="tiny", trials=1, finals_seeds=2, device="cpu", **values)
    run_search(request, Workspace(root)).close()
    return root


# What talks to MLflow may import it: a report is logged with its study, and the doctor compares.
@pytest.mark.parametrize(
    ("command", "allowed"),
    [
        (("status",), set()),
        (("status", "tiny"), set()),
        (("status", "tiny", "--json"), set()),
        (("verdict", "tiny", "--json"), {"mlflow"}),
        (("verdict", "tiny"), {"mlflow"}),
        (("report", "tiny"), {"mlflow"}),
        (("doctor", "tiny"), {"mlflow"}),
        (("sync", "tiny"), set()),
        (("ui", "nobody"), set()),
        (("pause", "tiny"), set()),
        (("stop", "tiny"), set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_reader_loads_no_torch(workspace: Path, command: tuple[str, ...], allowed: set[str]) -> None:
    assert loaded(*command, "--workspace", str(workspace)) <= allowed


def test_the_default_space_loads_no_torch() -> None:
    assert loaded("space") == set()


def test_help_and_version_load_nothing_heavy() -> None:
    assert loaded("--help") == loaded("--version") == set()


def loaded(*command: str) -> set[str]:
    ended = subprocess.run([sys.executable, "-c", RUN, *command], capture_output=True, text=True, check=True)
    code, modules = json.loads(ended.stdout.splitlines()[-1])
    assert code == (2 if "nobody" in command else 0), ended.stderr
    return set(modules)
