"""A SQLite database with MLflow's schema: made as a whole or not at all, whatever interrupts it.

MLflow makes its schema by dozens of migrations, one after the other. One that is cut off, by a kill or a full disk,
leaves a file that MLflow refuses for ever after. So the schema is made in a file beside, which then takes its place.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from ..program import run_program
from .mlflow_settings import configure_mlflow

_BESIDE = ("-journal", "-wal", "-shm")


def file_of(uri: str) -> Path | None:
    """Return the file of a SQLite store; None for other stores.

    Examples:
        >>> from frostline.storage.tracking.mlflow_database import file_of
        >>> str(file_of("sqlite:////data/mlflow.db?timeout=20")), file_of("https://mlflow.example")
        ('/data/mlflow.db', None)
    """
    kind, _, path = uri.partition(":///")
    name = path.partition("?")[0]
    return Path(name) if kind == "sqlite" and name not in ("", ":memory:") else None


def lacks_schema(file: Path | None) -> bool:
    """Return whether a database is missing, or its creation was cut off: then nothing is in it that could be lost.

    MLflow would create it on the spot, or refuse it.

    Args:
        file: A SQLite file; None for another store.
    """
    if file is None or not file.exists():
        return file is not None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            begun = not tables or any(name.startswith(("alembic_version", "_alembic_tmp_")) for name in tables)
            # MLflow makes the first experiment after all tables.
            kept = [name for name in ("experiments", "runs") if name in tables]
            return begun and not any(connection.execute(f"SELECT 1 FROM {name} LIMIT 1").fetchone() for name in kept)
    except sqlite3.Error:
        # Whoever opens it says what is wrong.
        return False


def create_aside(file: Path, lock: Path) -> None:
    """Create a database in a detached process, which goes on if this one is killed; if it fails, there is none."""
    # No arguments: every user can see them.
    subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=json.dumps([str(file), str(lock)]),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )


def create(file: Path, lock: Path) -> None:
    """Create a database with the schema of the installed MLflow, unless there is one.

    Args:
        file: The database.
        lock: Lock file under which it is created.

    Raises:
        Exception: Of MLflow, SQLAlchemy or the system; then the database is as it was.
    """
    from mlflow import MlflowClient

    with FileLock(lock):
        if not lacks_schema(file):
            return
        draft = file.with_name(f"{file.name}.new")
        _remove(draft)
        uri = f"sqlite:///{draft}"
        MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
        _remove(file)
        os.replace(draft, file)


def let_readers_in(file: Path) -> None:
    """Switch a database to WAL, permanently, so that the UI can read while a search writes."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _remove(file: Path) -> None:
    for each in (file, *(file.with_name(f"{file.name}{suffix}") for suffix in _BESIDE)):
        each.unlink(missing_ok=True)


def main() -> None:
    """Create the database that standard input names."""
    configure_mlflow()
    create(*map(Path, json.load(sys.stdin)))


if __name__ == "__main__":
    run_program(main)
