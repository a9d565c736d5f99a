"""Where a workspace is, and that looking at one makes nothing."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from sqlalchemy import make_url

from frostline.storage.database.engine import Database
from frostline.storage.errors import StorageError
from frostline.storage.workspace import ARTIFACTS_VARIABLE, DEFAULT_WORKSPACE, ENVIRONMENT_VARIABLE, Workspace


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


def test_option_then_environment_then_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Workspace.locate().root == tmp_path / DEFAULT_WORKSPACE
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "from-environment"))
    assert Workspace.locate().root == tmp_path / "from-environment"
    assert Workspace.locate(Path("given")).root == tmp_path / "given"


def test_checkpoints_are_where_the_option_says_then_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(ARTIFACTS_VARIABLE, raising=False)
    assert Workspace.locate().artifacts_url is None
    monkeypatch.setenv(ARTIFACTS_VARIABLE, "s3://bucket/frostline")
    assert Workspace.locate().artifacts_url == "s3://bucket/frostline"
    assert Workspace.locate(artifacts="shared").artifacts_url == str(tmp_path / "shared")


def test_a_home_folder_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace.locate(Path("~/studies")).root == tmp_path / "studies"


def test_commands_name_the_workspace_only_where_they_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Workspace.locate().option == ""
    other = Workspace.locate(tmp_path / "my studies")
    option, value = shlex.split(other.option)
    assert (option, Path(value)) == ("--workspace", other.root)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(other.root))
    assert other.option == ""


def test_looking_makes_nothing(tmp_path: Path) -> None:
    place = Workspace.locate()
    assert place.studies_url.endswith("studies.db")
    assert place.tracking_url.endswith("mlflow.db")
    assert [path.parent for path in (place.artifacts, place.images)] == [place.root] * 2
    assert place.report("study").parent.parent == place.root
    assert list(tmp_path.iterdir()) == []


def test_making_it_twice_is_no_error(tmp_path: Path) -> None:
    place = Workspace(tmp_path / "a" / "b")
    assert place.create() is place
    assert place.create().root.is_dir()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"is a file.*--workspace"):
        Workspace.locate(tmp_path / "file")
    with pytest.raises(StorageError, match=r"Cannot create.*--workspace"):
        Workspace(tmp_path / "file" / "below").create()


@pytest.mark.parametrize("name", ["plain", "with space", "ümlaut", "a#b", "a;b", "a'b", "a+b"])
def test_databases_are_in_the_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    place = Workspace.locate(tmp_path / name).create()
    Database(place.studies_url)
    assert (place.root / "studies.db").exists()
    assert make_url(place.tracking_url).database == str(place.root / "mlflow.db")


@pytest.mark.parametrize("name", ["a?b", "a%20b"])
def test_folders_that_database_urls_would_misread_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="--workspace"):
        Workspace.locate(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_locks_have_a_folder_of_their_own(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    assert place.lock("a").parent.is_dir()
    assert place.lock("a") != place.lock("b")
