"""The schema of Frostline's own tables: their base class, and the numbered migrations of older databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from sqlalchemy import Column, Connection, Engine, Float, Integer, LargeBinary, String, insert, inspect, select, text
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from ..errors import SchemaError, UnreachableError
from ..urls import safe_url

# Seconds for which a process waits while another one changes the tables.
_LOCK_SECONDS = 60
# Any number that nothing else locks in a PostgreSQL database.
_POSTGRESQL_LOCK = 7_318_420_566
# A MariaDB server's locks are those of all its databases: the name has that of this one.
_MYSQL_NAME = "concat('frostline.', sha1(database()))"


# A plain BLOB of MariaDB has 64 KB: less than the probabilities of 2,000 images and 10 classes.
LONG_BYTES = LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")


class Table(DeclarativeBase):
    """Base class of Frostline's own tables."""


class _MigrationRow(Table):
    __tablename__ = "frostline_migrations"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(100))
    frostline: Mapped[str] = mapped_column(String(64))
    applied: Mapped[datetime]


@dataclass(frozen=True)
class Migration:
    """A change of the tables of older databases; its number is its place in :data:`MIGRATIONS`, from 1.

    Attributes:
        name: What it does, in a few words.
        change: Function that makes the change. It must do nothing where the change is made already: new tables are
            created complete, and MariaDB commits a change of a table before the migration is recorded.
    """

    name: str
    change: Callable[[Connection], None]


def add_column(connection: Connection, table: str, column: Column[Any]) -> None:
    """Add a nullable column to a table that exists without it."""
    inspector = inspect(connection)
    if not inspector.has_table(table) or column.name in {each["name"] for each in inspector.get_columns(table)}:
        return
    quote, kind = connection.dialect.identifier_preparer.quote, column.type.compile(connection.dialect)
    connection.exec_driver_sql(f"ALTER TABLE {quote(table)} ADD COLUMN {quote(column.name)} {kind}")


def _keep_probabilities(connection: Connection) -> None:
    add_column(connection, "frostline_finals", Column("probabilities", LONG_BYTES))


def _lengthen_predictions(connection: Connection) -> None:
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    columns = {"labels": "NOT NULL", "predictions": "NOT NULL", "probabilities": "NULL"}
    _modify(connection, "frostline_finals", columns)
    _modify(connection, "frostline_curve", {"labels": "NOT NULL", "probabilities": "NOT NULL"})


def _modify(connection: Connection, table: str, columns: Mapping[str, str]) -> None:
    if inspect(connection).has_table(table):
        changes = ", ".join(f"MODIFY {name} LONGBLOB {null}" for name, null in columns.items())
        connection.exec_driver_sql(f"ALTER TABLE {table} {changes}")


def _keep_precision(connection: Connection) -> None:
    for table in ("frostline_finals", "frostline_curve"):
        add_column(connection, table, Column("probability_bytes", Integer))


def _count_device_seconds(connection: Connection) -> None:
    add_column(connection, "frostline_tickets", Column("used_seconds", Float))


# Only ever append here: a new column, table or meaning of a value is one more migration. A table that is only new needs
# a migration without a change, so that older programs refuse the database.
MIGRATIONS: tuple[Migration, ...] = (
    Migration("finals keep probabilities", _keep_probabilities),
    Migration("predictions may exceed 64 KB on MariaDB", _lengthen_predictions),
    Migration("studies keep the faults of their data", lambda connection: None),
    Migration("finals keep probabilities of double precision", _keep_precision),
    Migration("studies keep diagnoses", lambda connection: None),
    Migration("tickets count device seconds", _count_device_seconds),
    Migration("studies keep why their search ended early", lambda connection: None),
)


def migrate(engine: Engine, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Create the missing tables and run the missing migrations; one process at a time changes the tables.

    Each migration and its record are one transaction on SQLite and PostgreSQL: both are committed, or none.

    Raises:
        SchemaError: A later version of Frostline changed the tables; the message says what to install.
        UnreachableError: Another process has been changing the tables for a minute.
    """
    with engine.begin() as connection:
        if _is_current(connection, migrations):
            return
    with _alone(engine) as connection:
        with connection.begin():
            # Another process may have done it while this one waited.
            if _is_current(connection, migrations):
                return
            Table.metadata.create_all(connection)
        for number, migration in enumerate(migrations, 1):
            with connection.begin():
                _run(connection, number, migration)


def _run(connection: Connection, number: int, migration: Migration) -> None:
    if connection.scalar(select(_MigrationRow.number).where(_MigrationRow.number == number)) is None:
        migration.change(connection)
        own, now = version("frostline"), datetime.now(UTC).replace(tzinfo=None)
        row = {"number": number, "name": migration.name, "frostline": own, "applied": now}
        connection.execute(insert(_MigrationRow), row)


def _is_current(connection: Connection, migrations: Sequence[Migration]) -> bool:
    tables = set(inspect(connection).get_table_names())
    if _MigrationRow.__tablename__ not in tables:
        return False
    columns = select(_MigrationRow.number, _MigrationRow.name, _MigrationRow.frostline)
    recorded = connection.execute(columns.order_by(_MigrationRow.number)).all()
    if later := [row for row in recorded if row.number > len(migrations)]:
        raise _too_new(connection, later[-1].frostline, [row.name for row in later])
    return tables >= Table.metadata.tables.keys() and len(recorded) == len(migrations)


def _too_new(connection: Connection, other: str, changes: Sequence[str]) -> SchemaError:
    own = version("frostline")
    install = f"Frostline {other} or later" if other != own else f"later sources of Frostline (both are version {own})"
    return SchemaError(
        f"The database {safe_url(str(connection.engine.url))} was changed by Frostline {other}, and this is Frostline "
        f"{own}, which does not know the change: {'; '.join(changes)}. Install {install} on this machine."
    )


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """Open a connection whose transactions change tables while no other process does."""
    postgresql, mysql = engine.dialect.name == "postgresql", engine.dialect.name in ("mysql", "mariadb")
    # On SQLite every transaction is alone.
    with engine.connect() as connection:
        if postgresql:
            _call(connection, f"SELECT pg_advisory_lock({_POSTGRESQL_LOCK})")
        elif mysql and _call(connection, f"SELECT GET_LOCK({_MYSQL_NAME}, {_LOCK_SECONDS})") != 1:
            raise UnreachableError(f"Another process is changing the tables of {safe_url(str(engine.url))}; try again.")
        try:
            yield connection
        finally:
            if not connection.invalidated:
                connection.rollback()
                if postgresql:
                    _call(connection, f"SELECT pg_advisory_unlock({_POSTGRESQL_LOCK})")
                elif mysql:
                    _call(connection, f"SELECT RELEASE_LOCK({_MYSQL_NAME})")


def _call(connection: Connection, function: str) -> object:
    with connection.begin():
        return connection.scalar(text(function))
