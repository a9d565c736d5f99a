"""Database engines that several processes can share, and our own tables beside Optuna's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Session

from .errors import UnreachableError

BUSY_TIMEOUT_MS = 60_000


class Table(DeclarativeBase):
    """Base of our own tables."""


def safe_url(url: str) -> str:
    """The URL without its password, for messages."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return "(not a database URL)"


def share_sqlite(engine: Engine) -> None:
    """Let several processes use a SQLite engine: WAL, waiting for locks, writers queued from their first read.

    Without BEGIN IMMEDIATE two writers can both read, then one fails to write: shipped SQLite storage runs trials
    twice that way.
    """
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _add_columns(engine: Engine) -> None:
    """Give tables of an earlier version the columns that came since, which are nullable for this."""
    with engine.begin() as connection:
        inspector = inspect(connection)
        for table in Table.metadata.sorted_tables:
            present = {column["name"] for column in inspector.get_columns(table.name)}
            for column in table.columns:
                if column.name not in present:
                    kind = column.type.compile(engine.dialect)
                    connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {column.name} {kind}")


class Database:
    """Sessions on our own tables, which are made when missing.

    Args:
        url: An SQLAlchemy URL.

    Raises:
        UnreachableError: No connection.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with self._reachable():
            self.engine = create_engine(url)
            share_sqlite(self.engine)
            Table.metadata.create_all(self.engine)
            _add_columns(self.engine)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back on any error."""
        with self._reachable(), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _reachable(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, ModuleNotFoundError) as error:
            # An SQLAlchemy error may quote the URL; the driver's own does not.
            said = error if isinstance(error, ModuleNotFoundError) else getattr(error, "orig", None)
            reason = str(said or type(error).__name__).splitlines()[0]
            raise UnreachableError(f"The database {safe_url(self._url)} cannot be used: {reason}") from error
