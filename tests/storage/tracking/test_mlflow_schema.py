"""The schema of MLflow's database against the installed MLflow."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from frostline.storage.tracking.mlflow_schema import schema_fault

# The first revision that MLflow ever had (2019).
FIRST = "451aebb31d03"


@pytest.fixture
def database(tmp_path: Path, tracking_database: Path) -> Path:
    return Path(shutil.copy(tracking_database, tmp_path))


def restamp(database: Path, revision: str) -> bytes:
    """Write another revision; return the whole file."""
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    return database.read_bytes()


def test_what_the_installed_mlflow_made_fits(database: Path) -> None:
    assert schema_fault(f"sqlite:///{database}") is None


@pytest.mark.parametrize(
    ("revision", "age", "remedy"),
    [
        (FIRST, "an older MLflow", "mlflow db upgrade sqlite:///"),
        ("fffffffffff1", "a newer MLflow", "pip install --upgrade mlflow"),
    ],
)
def test_another_schema_is_told_and_left_alone(database: Path, revision: str, age: str, remedy: str) -> None:
    before, uri = restamp(database, revision), f"sqlite:///{database}"
    fault = schema_fault(uri)
    assert fault is not None
    assert f"{age} (revision {revision}" in fault.what
    assert remedy in fault.remedy
    assert database.read_bytes() == before
    # MLflow itself opens neither.
    with pytest.raises(MlflowException, match=revision):
        MlflowClient(tracking_uri=uri).search_experiments()


def test_what_has_no_schema_yet_has_no_fault_and_is_not_made(tmp_path: Path) -> None:
    assert schema_fault(f"sqlite:///{tmp_path / 'none.db'}") is None
    assert schema_fault("https://mlflow.example") is None
    assert list(tmp_path.iterdir()) == []
    sqlite3.connect(tmp_path / "empty.db").close()
    assert schema_fault(f"sqlite:///{tmp_path / 'empty.db'}") is None
