"""The table of bad inputs: each ends with exit code 2, a message that names the thing, and nothing made or lost.

``pytest tests/test_bad_input.py`` counts them; ids name what is wrong.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.facts import StudyFacts
from frostline.search.study.settings import StudySettings
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from .bad_inputs.commands import COMMANDS, DATABASES, ENVIRONMENT
from .bad_inputs.datasets import DATA
from .bad_inputs.manifests import MANIFESTS
from .bad_inputs.options import SPACES, STUDY_FILES, WRONG_OPTIONS
from .bad_inputs.rows import GOOD, STUDY, pictures
from .bad_inputs.weights import WEIGHTS

ROWS = {
    **WRONG_OPTIONS,
    **SPACES,
    **STUDY_FILES,
    **DATA,
    **MANIFESTS,
    **WEIGHTS,
    **COMMANDS,
    **ENVIRONMENT,
    **DATABASES,
}


def known(workspace: Path) -> None:
    """A study that was started, on data that went."""
    settings = StudySettings(
        name=STUDY,
        data="gone",
        backbone="tiny_network:create",
        weights="none",
        image_size=32,
        trials=6,
        metric="accuracy",
        seed=0,
        finals_seeds=1,
        space=resolve_space(create_space({"full": {"epochs": 1}, "scratch": {"epochs": 1}}), 3),
    )
    facts = StudyFacts(("cat", "dog"), {"train": 7, "val": 2, "test": 2}, "9f86", (), ("a", "b", "c"), (0.0, 0.5, 1.0))
    Study.create(settings, facts, Workspace(workspace), None).close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("template")
    pictures(folder / "photos")
    known(folder / "ws")
    return folder


def state_of(folder: Path, *, cached: bool) -> dict[str, str]:
    """What is in a folder, by name, apart from locks and what a database's readers leave."""
    found = {}
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if name.endswith(("-wal", "-shm", ".pyc", "__pycache__", ".lock")) or "/locks" in name:
            continue
        if cached and name.startswith("ws/images"):
            continue
        found[name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "folder"
    return found


@pytest.mark.parametrize("name", ROWS)
def test_bad_input(name: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row, here = ROWS[name], tmp_path / "here"
    shutil.copytree(template, here)
    monkeypatch.chdir(here)
    monkeypatch.setenv("FROSTLINE_WORKSPACE", "ws")
    for variable, value in row.env.items():
        monkeypatch.setenv(variable, value)
    row.make(here)
    before = state_of(here, cached=row.cached)
    result = CliRunner().invoke(app, list(row.args), obj=TerminalViews(), prog_name="frostline")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    said = " ".join(result.stderr.replace("\u2502", " ").split())
    for word in row.words:
        assert word in said
    assert state_of(here, cached=row.cached) == before


def without_access(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the system refuse to look into a folder, as it does not refuse the user root."""

    def refusing(name: str, refused: Callable[[Path], bool]) -> None:
        whole = getattr(os, name)

        def call(path: Any = ".", *args: Any, **options: Any) -> Any:
            if isinstance(path, str | Path) and refused(Path(path).absolute()):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return whole(path, *args, **options)

        monkeypatch.setattr(os, name, call)

    refusing("stat", lambda path: folder in path.parents)
    for name in ("scandir", "listdir"):
        refusing(name, lambda path: path == folder)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and allowed(path, mode))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nolook",), "Cannot read the folder nolook: Permission denied. Give yourself access to it"),
        (("photos", "--plugin", "nolook"), "Give yourself access to it."),
        (("photos", "--metric", "nolook:own"), "Give yourself access to it."),
    ],
)
def test_a_folder_that_the_user_may_not_read(
    args: tuple[str, ...], said: str, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    (tmp_path / "nolook").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FROSTLINE_WORKSPACE", "ws")
    without_access(tmp_path / "nolook", monkeypatch)
    result = CliRunner().invoke(app, ["search", *args, *GOOD], obj=TerminalViews(), prog_name="frostline")
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert "nolook" in result.stderr
    assert "json" not in result.stderr
    assert "__init__" not in result.stderr


def test_the_table_is_long() -> None:
    assert len(ROWS) >= 120
