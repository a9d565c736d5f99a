"""The creation of MLflow's SQLite database: whatever interrupts it, the next one succeeds."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from frostline.storage.errors import UnreachableError
from frostline.storage.tracking import mlflow_client
from frostline.storage.tracking.mlflow_client import connect
from frostline.storage.tracking.mlflow_database import create, create_aside, file_of, lacks_schema

BEGUN = (
    "CREATE TABLE alembic_version (version_num TEXT)",
    "INSERT INTO alembic_version VALUES ('451aebb31d03')",
    "CREATE TABLE experiments (name TEXT)",
    "CREATE TABLE _alembic_tmp_metrics (value FLOAT)",
)


def write(file: Path, *statements: str) -> Path:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return file


@pytest.fixture
def creating(monkeypatch: pytest.MonkeyPatch, tracking_database: Path) -> Callable[[bool], None]:
    """MLflow makes its schema by copying one, or fails half-way."""

    def set_up(fails: bool) -> None:
        class Client:
            def __init__(self, tracking_uri: str, registry_uri: str) -> None:
                assert tracking_uri == registry_uri
                self.file = Path(tracking_uri.removeprefix("sqlite:///"))

            def search_experiments(self, max_results: int) -> None:
                # As MLflow does, which refuses what is there already.
                write(self.file, *BEGUN)
                if fails:
                    raise OSError("No space left on device")
                shutil.copy(tracking_database, self.file)

        monkeypatch.setattr("mlflow.MlflowClient", Client)

    return set_up


def test_a_creation_that_is_cut_off_leaves_nothing_in_the_way(tmp_path: Path, creating: Callable[[bool], None]) -> None:
    file, lock = tmp_path / "mlflow.db", tmp_path / "lock"
    creating(True)
    with pytest.raises(OSError, match="No space left"):
        create(file, lock)
    assert not file.exists()
    creating(False)
    create(file, lock)
    assert not lacks_schema(file)
    assert {each.name for each in tmp_path.iterdir()} <= {"mlflow.db", "lock"}


def test_what_an_earlier_version_left_half_made_is_made_anew(
    tmp_path: Path, creating: Callable[[bool], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "mlflow.db", *BEGUN)
    (tmp_path / "mlflow.db-journal").write_bytes(b"")
    assert lacks_schema(file)
    # The other process fails, too.
    monkeypatch.setattr(mlflow_client, "create_aside", lambda file, lock: None)
    creating(True)
    with pytest.raises(UnreachableError, match="No space left on device"):
        connect(f"sqlite:///{file}", tmp_path / "lock")
    creating(False)
    connect(f"sqlite:///{file}", tmp_path / "lock")
    assert not lacks_schema(file)


@pytest.mark.parametrize(
    "kept",
    [
        (*BEGUN, "INSERT INTO experiments VALUES ('Default')"),
        (*BEGUN, "CREATE TABLE runs (name TEXT)", "INSERT INTO runs VALUES ('mine')"),
        ("CREATE TABLE guests (name TEXT)",),
    ],
    ids=["an experiment", "a run", "another program's"],
)
def test_what_holds_anything_is_left_alone(
    tmp_path: Path, kept: tuple[str, ...], creating: Callable[[bool], None]
) -> None:
    file = write(tmp_path / "mlflow.db", *kept)
    before = file.read_bytes()
    assert not lacks_schema(file)
    creating(False)
    create(file, tmp_path / "lock")
    assert file.read_bytes() == before
    file.write_bytes(b"no database" * 100)
    assert not lacks_schema(file)


def test_the_file_of_a_uri() -> None:
    for uri in ("sqlite:///:memory:", "sqlite:///:memory:?cache=shared", "sqlite://", "postgresql:///mlflow", "runs"):
        assert file_of(uri) is None
    for uri in ("sqlite:///mlflow.db", "sqlite:///mlflow.db?timeout=20"):
        assert file_of(uri) == Path("mlflow.db")


def test_missing_and_empty_databases_lack_it(tmp_path: Path) -> None:
    assert lacks_schema(tmp_path / "mlflow.db")
    assert not (tmp_path / "mlflow.db").exists()
    assert lacks_schema(write(tmp_path / "empty.db"))


@pytest.mark.slow
def test_a_killed_creation_is_made_up_for(tmp_path: Path) -> None:
    file, lock = tmp_path / "my database.db", tmp_path / "lock"
    code = "import sys, pathlib; from frostline.storage.tracking.mlflow_database import create; "
    code += "create(*map(pathlib.Path, sys.argv[1:]))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    draft, deadline = tmp_path / f"{file.name}.new", time.monotonic() + 120
    with subprocess.Popen([sys.executable, "-c", code, str(file), str(lock)], env=environment) as creator:
        while not draft.exists() or draft.stat().st_size < 50_000:
            assert creator.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        creator.send_signal(signal.SIGKILL)
    assert not file.exists()
    create_aside(file, lock)
    assert not lacks_schema(file)
    assert not draft.exists()
    assert [each.name for each in MlflowClient(f"sqlite:///{file}").search_experiments()] == ["Default"]
