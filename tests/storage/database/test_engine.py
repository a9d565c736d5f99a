"""SQLite as several processes use it, and errors without secrets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

from frostline.storage.database.engine import BUSY_TIMEOUT_MS, Database, share_sqlite
from frostline.storage.database.finals import FinalsTable
from frostline.storage.errors import StorageError, UnreachableError
from frostline.storage.urls import safe_url

from .threads import errors_in_threads

WRITES = 20


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'studies.db'}"


def test_sqlite_is_in_wal_mode_and_waits_for_locks(url: str) -> None:
    with Database(url).engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == BUSY_TIMEOUT_MS
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def count_up(database: Database, times: int) -> None:
    """Read, then write what was read plus one: lost updates and deadlocks show."""
    for _ in range(times):
        with database.engine.begin() as connection:
            number = connection.execute(text("SELECT n FROM counter")).scalar_one()
            connection.execute(text("UPDATE counter SET n = :n"), {"n": number + 1})


def counter(url: str) -> Database:
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE TABLE counter (n INTEGER)"))
        connection.execute(text("INSERT INTO counter VALUES (0)"))
    return database


def test_threads_that_read_and_then_write_lose_nothing(url: str) -> None:
    database = counter(url)
    errors = errors_in_threads(4, lambda: count_up(Database(url), WRITES))
    assert errors == []
    with database.engine.begin() as connection:
        assert connection.execute(text("SELECT n FROM counter")).scalar() == 4 * WRITES


def test_processes_that_write_lose_nothing(tmp_path: Path, url: str) -> None:
    script = (
        "import sys, numpy as np\n"
        "from frostline.storage.database.engine import Database\n"
        "from frostline.storage.database.finals import FinalsTable\n"
        "table = FinalsTable(Database(sys.argv[1]), 'study')\n"
        f"for seed in range({WRITES}):\n"
        "    table.add(sys.argv[2], seed, {}, np.arange(3), np.eye(3))\n"
    )
    commands = [[sys.executable, "-c", script, url, name] for name in ("a", "b")]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    kept = [(final.finalist, final.seed) for final in FinalsTable(Database(url), "study").all()]
    assert sorted(kept) == [(name, seed) for name in ("a", "b") for seed in range(WRITES)]


def test_without_our_settings_two_writers_would_fail(tmp_path: Path) -> None:
    """What BEGIN IMMEDIATE is for: two transactions that read before either writes."""
    url = f"sqlite:///{tmp_path / 'plain.db'}"
    counter(url)
    first, second = (create_engine(url, connect_args={"timeout": 0.1}).connect() for _ in range(2))
    with first, second:
        for connection in (first, second):
            connection.exec_driver_sql("BEGIN")
            connection.execute(text("SELECT n FROM counter")).scalar_one()
        first.execute(text("UPDATE counter SET n = 1"))
        with pytest.raises(OperationalError, match="locked"):
            second.execute(text("UPDATE counter SET n = 1"))


def test_a_transaction_is_rolled_back_on_an_error(url: str) -> None:
    database = counter(url)

    def fail() -> None:
        with database.session() as session:
            session.execute(text("UPDATE counter SET n = 7"))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    with database.session() as session:
        assert session.execute(text("SELECT n FROM counter")).scalar() == 0


def test_other_databases_are_left_as_they_are() -> None:
    class Postgres:
        class dialect:  # noqa: N801
            name = "postgresql"

    share_sqlite(Postgres())  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    "url",
    [
        "unknowndb://user:s3cret@host/db",
        "postgresql+psycopg://user:s3cret@127.0.0.1:1/db",
        "user:s3cret@host",
    ],
)
def test_errors_name_the_database_without_its_password(url: str) -> None:
    with pytest.raises(UnreachableError) as failure:
        Database(url)
    assert "s3cret" not in str(failure.value)
    assert "cannot be used" in str(failure.value)
    assert isinstance(failure.value, StorageError)


def test_a_database_that_cannot_be_opened_is_a_plain_error(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="unable to open database file"):
        Database(f"sqlite:///{tmp_path / 'missing' / 'studies.db'}")
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database, whatever its name says" * 50)
    with pytest.raises(UnreachableError, match="not a database"):
        Database(f"sqlite:///{broken}")


def test_urls_are_shown_without_password() -> None:
    assert safe_url("postgresql://me:s3cret@host:5432/db") == "postgresql://me:***@host:5432/db"
    assert safe_url("sqlite:////a/b.db") == "sqlite:////a/b.db"


def test_labels_of_any_class_survive(url: str) -> None:
    table = FinalsTable(Database(url), "study")
    table.add("a", 0, {}, np.array([0, 2**31 - 1]), np.eye(1000, dtype=np.float32)[[999, 1]])
    (kept,) = table.all()
    assert kept.labels.tolist() == [0, 2**31 - 1]
