"""Databases of earlier and later versions of Frostline, on each kind of server, and processes that start at once."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from sqlalchemy import JSON, Column, Connection, Integer, LargeBinary, String, UniqueConstraint, create_engine, inspect
from sqlalchemy import text as sql

from frostline.storage.database import CurveTable, FinalsTable, StudyControl, Tickets, schema
from frostline.storage.database.engine import Database, share_sqlite
from frostline.storage.database.schema import MIGRATIONS, Migration, Table, add_column, migrate
from frostline.storage.errors import SchemaError

from .threads import errors_in_threads

COUNT = "SELECT number, name, frostline FROM frostline_migrations ORDER BY number"
LABELS, SURE = np.array([0, 1]), np.eye(2, dtype=np.float32)


@pytest.fixture
def engine(database_url: str) -> Iterator[sqlalchemy.Engine]:
    engine = create_engine(database_url)
    share_sqlite(engine)
    yield engine
    engine.dispose()


def opened(engine: sqlalchemy.Engine) -> None:
    Database(engine.url.render_as_string(hide_password=False)).engine.dispose()


def finals_of_an_earlier_version(engine: sqlalchemy.Engine, *, probabilities: bool) -> None:
    """The table of finals as written down then, with one final: 08a8997 kept probabilities, 929d7b3 did not."""
    finals = sqlalchemy.Table(
        "frostline_finals",
        sqlalchemy.MetaData(),
        Column("id", Integer, primary_key=True),
        Column("study", String(250), nullable=False, index=True),
        Column("finalist", String(64), nullable=False),
        Column("seed", Integer, nullable=False),
        Column("outcome", JSON, nullable=False),
        Column("labels", LargeBinary, nullable=False),
        Column("predictions", LargeBinary, nullable=False),
        *([Column("probabilities", LargeBinary)] if probabilities else []),
        Column("test_opened", sqlalchemy.DateTime, nullable=False),
        UniqueConstraint("study", "finalist", "seed"),
    )
    row: dict[str, Any] = {"study": "flowers", "finalist": "full-3", "seed": 1000, "outcome": {"test_score": 0.5}}
    row |= {name: LABELS.astype("<i4").tobytes() for name in ("labels", "predictions")}
    row |= {"probabilities": SURE.tobytes()} if probabilities else {}
    with engine.begin() as connection:
        finals.create(connection)
        connection.execute(finals.insert(), {**row, "test_opened": datetime(2026, 11, 21)})


def recorded(engine: sqlalchemy.Engine) -> list[tuple[int, str, str]]:
    with engine.begin() as connection:
        return [(number, name, frostline) for number, name, frostline in connection.execute(sql(COUNT))]


EVERY = [(number, migration.name, version("frostline")) for number, migration in enumerate(MIGRATIONS, 1)]


def test_a_new_database_has_all_tables_and_needs_no_migration_again(engine: sqlalchemy.Engine) -> None:
    opened(engine)
    assert recorded(engine) == EVERY
    assert set(Table.metadata.tables) <= set(inspect(engine).get_table_names())
    for name, table in Table.metadata.tables.items():
        assert {column["name"] for column in inspect(engine).get_columns(name)} == set(table.columns.keys())
    migrate(engine, [Migration(migration.name, refuse) for migration in MIGRATIONS])
    assert recorded(engine) == EVERY


def refuse(connection: Connection) -> None:
    raise AssertionError("it ran already")


@pytest.mark.parametrize("probabilities", [True, False])
def test_databases_without_recorded_migrations_are_used_as_they_are(
    engine: sqlalchemy.Engine, database_url: str, probabilities: bool
) -> None:
    finals_of_an_earlier_version(engine, probabilities=probabilities)
    database = Database(database_url)
    assert recorded(engine) == EVERY
    (final,) = FinalsTable(database, "flowers").all()
    assert (final.finalist, final.seed, final.outcome) == ("full-3", 1000, {"test_score": 0.5})
    np.testing.assert_array_equal(final.labels, LABELS)
    if probabilities:
        np.testing.assert_array_equal(final.probabilities, SURE)
    else:
        assert final.probabilities is None
    FinalsTable(database, "flowers").add("full-3", 1001, {}, LABELS, SURE)
    np.testing.assert_array_equal(FinalsTable(database, "flowers").all()[1].probabilities, SURE)
    many, long = np.zeros(3000, dtype=np.int64), np.full((3000, 10), 0.1, dtype=np.float32)
    FinalsTable(database, "flowers").add("full-3", 1002, {}, many, long)
    np.testing.assert_array_equal(FinalsTable(database, "flowers").all()[2].probabilities, long)
    CurveTable(database, "flowers").add("full-3", 10, 1000, {}, many, long)
    np.testing.assert_array_equal(CurveTable(database, "flowers").all()[0].probabilities, long)
    sure = np.array([[1.0, 1e-300]] * len(LABELS))
    FinalsTable(database, "flowers").add("full-3", 1003, {}, LABELS, sure)
    np.testing.assert_array_equal(FinalsTable(database, "flowers").all()[3].probabilities, sure)
    Tickets(database, "flowers", "trial").issue(2)
    assert StudyControl(database, "flowers").get() == "run"
    database.engine.dispose()


def test_several_that_start_at_once_change_the_tables_once(
    engine: sqlalchemy.Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finals_of_an_earlier_version(engine, probabilities=False)
    runs = list[str]()

    def change(connection: Connection) -> None:
        runs.append("changed")
        connection.execute(sql("UPDATE frostline_finals SET seed = seed + 1"))

    monkeypatch.setattr(migrate, "__defaults__", ((*MIGRATIONS, Migration("seeds count from 1", change)),))
    ready = threading.Barrier(6)

    def work() -> None:
        ready.wait()
        Database(database_url).engine.dispose()

    errors = errors_in_threads(6, work)
    assert errors == []
    assert runs == ["changed"]
    assert [number for number, _, _ in recorded(engine)] == list(range(1, len(MIGRATIONS) + 2))
    with engine.begin() as connection:
        assert connection.scalar(sql("SELECT seed FROM frostline_finals")) == 1001


def test_processes_that_start_at_once_share_a_new_database(database_url: str, engine: sqlalchemy.Engine) -> None:
    script = "import sys; from frostline.storage.database import Database, FinalsTable; Database(sys.argv[1])"
    workers = [
        subprocess.Popen([sys.executable, "-c", script, database_url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], errors
    assert recorded(engine) == EVERY


def test_a_migration_that_fails_leaves_nothing_and_is_run_again(engine: sqlalchemy.Engine) -> None:
    finals_of_an_earlier_version(engine, probabilities=True)
    migrate(engine)
    failing = [True]

    def change(connection: Connection) -> None:
        connection.execute(sql("UPDATE frostline_finals SET seed = 7"))
        add_column(connection, "frostline_finals", Column("weight", Integer))
        # On MariaDB the new column, and what came before it, is committed by now.
        if failing:
            raise RuntimeError("killed")

    several = (*MIGRATIONS, Migration("finals have a weight", change))
    with pytest.raises(RuntimeError, match="killed"):
        migrate(engine, several)
    assert recorded(engine) == EVERY
    if engine.dialect.name != "mysql":
        assert "weight" not in {column["name"] for column in inspect(engine).get_columns("frostline_finals")}
        with engine.begin() as connection:
            assert connection.scalar(sql("SELECT seed FROM frostline_finals")) == 1000
    failing.clear()
    migrate(engine, several)
    assert [name for _, name, _ in recorded(engine)] == [*(each.name for each in MIGRATIONS), "finals have a weight"]
    assert "weight" in {column["name"] for column in inspect(engine).get_columns("frostline_finals")}


@pytest.mark.parametrize(
    ("other", "install"),
    [("99.1", r"Install Frostline 99\.1 or later on this machine"), (version("frostline"), "Install later sources")],
)
def test_a_later_versions_database_is_refused(
    engine: sqlalchemy.Engine, monkeypatch: pytest.MonkeyPatch, other: str, install: str
) -> None:
    with monkeypatch.context() as later:
        later.setattr(schema, "version", lambda name: other)
        migrate(engine, (*MIGRATIONS, Migration("finals have a weight", lambda connection: None)))
    tables = inspect(engine).get_table_names()
    own = version("frostline")
    message = f"changed by Frostline {other}, and this is Frostline {own}.*: finals have a weight. {install}"
    with pytest.raises(SchemaError, match=message):
        opened(engine)
    assert inspect(engine).get_table_names() == tables


def test_tickets_of_an_earlier_version_have_no_device_seconds_yet(engine: sqlalchemy.Engine, database_url: str) -> None:
    """The table of tickets as 16013a8 made it, with a trial that had ended and one that had not."""
    columns = [
        Column(each.name, each.type, primary_key=each.primary_key, nullable=each.nullable)
        for each in Table.metadata.tables["frostline_tickets"].columns
        if each.name != "used_seconds"
    ]
    table = sqlalchemy.Table("frostline_tickets", sqlalchemy.MetaData(), *columns)
    row = {"study": "flowers", "kind": "trial", "token": 1, "lapses": 0}
    with engine.begin() as connection:
        table.create(connection)
        connection.execute(table.insert(), [{**row, "number": number, "done": number == 0} for number in range(2)])
    database = Database(database_url)
    tickets = Tickets(database, "flowers", "trial")
    assert (tickets.use().seconds, tickets.counts()) == (0.0, (2, 1))
    [lease] = database.run_with_retry(lambda session: tickets.claim(session, "me", 60.0, budget=1.0))
    assert (lease.number, lease.used_seconds) == (1, 0.0)
    tickets.fill_used_seconds({0: 2.5})
    assert tickets.use().seconds == 2.5
    database.engine.dispose()
