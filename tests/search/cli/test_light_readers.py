"""Commands that only read a study load neither torch nor Optuna, nor what opens a database for writing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frostline.search.execution import run_search
from frostline.search.study import Request
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits

pytestmark = pytest.mark.usefixtures("mlflow_records")

# Runs commands as `frostline` does, each after the one before, and tells after each which heavy libraries are loaded.
RUN = """
import json, sys
from frostline.dashboards.cli import app, TerminalViews
told = []
for command in json.loads(sys.argv[1]):
    try:
        app(command, obj=TerminalViews())
    except SystemExit as ended:
        loaded = {"torch", "torchvision", "optuna", "mlflow", "alembic", "scipy.special"} & sys.modules.keys()
        told.append([" ".join(command), ended.code or 0, sorted(loaded)])
print(json.dumps(told))
"""
NOTHING = (
    ("--version",),
    ("--help",),
    ("space",),
    ("status",),
    ("status", "tiny"),
    ("status", "tiny", "--json"),
    ("sync", "tiny"),
    ("ui", "nobody"),
    ("pause", "tiny"),
    ("stop", "tiny"),
)
# What talks to MLflow may import it, and what it needs: a report is logged with its study, and the doctor compares.
ONLY_MLFLOW = (("verdict", "tiny", "--json"), ("verdict", "tiny"), ("report", "tiny"), ("doctor", "tiny"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("light")
    values = {
        "backbone": "tiny_network:create",
        "weights": "none",
        "image_size": 32,
        "strategies": ("feature_extraction",),
    }
    request = Request(data=few_digits(), name="tiny", trials=1, finals_seeds=2, device="cpu", **values)
    run_search(request, Workspace(root)).close()
    return root


@pytest.mark.parametrize("commands", [NOTHING, pytest.param((*NOTHING, *ONLY_MLFLOW), marks=pytest.mark.slow)])
def test_readers_load_no_torch(workspace: Path, commands: tuple[tuple[str, ...], ...]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FROSTLINE_WORKSPACE": str(workspace)},
    )
    told = json.loads(ended.stdout.splitlines()[-1])
    assert len(told) == len(commands)
    for place, (command, code, loaded) in enumerate(told):
        assert code == (2 if "nobody" in command else 0), (command, ended.stderr)
        allowed = set[str]() if place < len(NOTHING) else {"optuna", "mlflow", "alembic", "scipy.special"}
        assert set(loaded) <= allowed, command
