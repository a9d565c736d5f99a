"""Database engines that several processes can share, and our own tables beside Optuna's."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, Float, create_engine, event, inspect
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.sql.functions import FunctionElement

from .errors import LostConnectionError, UnreachableError
from .urls import safe_url

BUSY_TIMEOUT_MS = 60_000
# How long a database server may be away before who needs it gives up; the first and the longest wait between attempts.
PATIENCE_SECONDS = 600.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.05, 2.0

Result = TypeVar("Result")


class Table(DeclarativeBase):
    """Base of our own tables."""


class now_seconds(FunctionElement[float]):  # noqa: N801
    """The database's own clock, seconds since 1970: one clock for all machines that use it."""

    type = Float()
    inherit_cache = True


@compiles(now_seconds, "sqlite")
def _now_sqlite(element: now_seconds, compiler: Any, **_: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now_seconds, "postgresql")
def _now_postgresql(element: now_seconds, compiler: Any, **_: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


@compiles(now_seconds, "mysql")
@compiles(now_seconds, "mariadb")
def _now_mysql(element: now_seconds, compiler: Any, **_: Any) -> str:
    # Not now(), which would stand still in replication and follow the session's time zone.
    return "unix_timestamp(sysdate(6))"


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
        with _reachable(url):
            # A server may have been restarted since a connection was last used; and it takes so many, of all workers:
            # one is kept, another is opened where two threads need one at a time.
            kept = {} if url.startswith("sqlite") else {"pool_pre_ping": True, "pool_size": 1}
            self.engine = create_engine(url, **kept)
            share_sqlite(self.engine)
            Table.metadata.create_all(self.engine)
            _add_columns(self.engine)

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A transaction that only reads, and in which the database stands still."""
        with self.session() as session:
            # SQLite's do so by themselves.
            if self.engine.dialect.name != "sqlite":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction: committed at the end, rolled back on any error."""
        with _reachable(self._url), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def patiently(self, work: Callable[[Session], Result], patience: float = PATIENCE_SECONDS) -> Result:
        """A transaction that is tried again while the server is away or busy with others.

        Args:
            work: What to do in it; must be right to be done twice, for a connection may break after the commit.
            patience: Seconds.

        Raises:
            UnreachableError: The database cannot be used, or its server did not come back in time.
        """
        deadline, wait = time.monotonic() + patience, FIRST_WAIT_SECONDS
        while True:
            try:
                with self.session() as session:
                    return work(session)
            except LostConnectionError:
                if time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)


def probe(url: str) -> None:
    """See that a database answers; nothing is made in it.

    Raises:
        UnreachableError: It does not.
    """
    with _reachable(url):
        engine = create_engine(url)
        try:
            with engine.connect():
                pass
        finally:
            engine.dispose()


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        # An SQLAlchemy error may quote the URL; the driver's own does not.
        said = error if isinstance(error, ModuleNotFoundError) else getattr(error, "orig", None)
        reason = str(said or type(error).__name__).splitlines()[0]
        if isinstance(error, ArgumentError):
            reason = "it is not the URL of a database"
        kind = LostConnectionError if _may_pass(url, error) else UnreachableError
        raise kind(f"The database {safe_url(url)} cannot be used: {reason}") from error


def _may_pass(url: str, error: Exception) -> bool:
    """Whether the same may succeed later: of a server, lost connections and deadlocks; not what a file refuses."""
    return isinstance(error, OperationalError | InterfaceError) and not url.startswith("sqlite")
