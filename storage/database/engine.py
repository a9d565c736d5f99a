"""SQLAlchemy engines that processes share."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from sqlalchemy import Engine, Float, create_engine, event
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.functions import FunctionElement

from ..errors import LostConnectionError, NoDatabaseError, UnreachableError
from ..urls import safe_url
from .schema import migrate

BUSY_TIMEOUT_MS = 60_000
# Seconds to retry while a database server does not answer; the first and the longest wait between two attempts.
PATIENCE_SECONDS = 600.0
MIN_WAIT_SECONDS, MAX_WAIT_SECONDS = 0.05, 2.0

Result = TypeVar("Result")


class now_seconds(FunctionElement[float]):  # noqa: N801
    """The database's clock in seconds since 1970, so that all machines use the same clock."""

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
    # Not now(), which is fixed within a replicated statement and follows the session's time zone.
    return "unix_timestamp(sysdate(6))"


def share_sqlite(engine: Engine) -> None:
    """Prepare a SQLite engine for several processes: WAL, waiting for locks, one transaction at a time.

    BEGIN IMMEDIATE locks at the first read. Without it two transactions can both read, and one then fails to write;
    Optuna's own SQLite storage runs trials twice that way. Engines of other databases are left unchanged.
    """
    if engine.dialect.name != "sqlite":
        return

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        _use_wal(connection)
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _use_wal(connection: Any) -> None:
    """Switch a database to WAL; while another process does so, SQLite refuses at once, whatever the busy timeout."""
    until = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.05)


class Database:
    """Transactions on Frostline's own tables; missing tables are created, those of older versions migrated.

    **Guarantees:**

    - A transaction is atomic: it is committed as a whole at the end of its block, or rolled back on any error. A commit
      survives the end of the process, kill -9 included. On SQLite a power failure may lose the last commits
      (``synchronous=NORMAL``) but does not corrupt the file.
    - Any number of processes and threads may use the same URL. On SQLite their transactions run one after the other;
      each waits up to 60 s for the file's lock.
    - Readers see committed data only. Within :meth:`snapshot` all reads see the same state.
    - :meth:`run_with_retry` may run its work twice, because a connection may break after the commit.
    - No error message contains a secret of the URL.

    Args:
        url: SQLAlchemy URL.

    Attributes:
        engine: SQLAlchemy engine of the database.

    Raises:
        UnreachableError: The database cannot be used.
        SchemaError: A later version of Frostline changed the tables.

    Examples:
        >>> from frostline.storage.database import Database
        >>> from sqlalchemy import text
        >>> database = Database("sqlite://")
        >>> with database.session() as session:
        ...     session.scalar(text("SELECT 6 * 7"))
        42
    """

    def __init__(self, url: str) -> None:
        self._url = url
        with _reachable(url):
            # Test a connection before its use: the server may have restarted. Servers limit connections, so each worker
            # keeps one, and opens another only while two threads need one.
            kept = {} if url.startswith("sqlite") else {"pool_pre_ping": True, "pool_size": 1}
            self.engine = create_engine(url, **kept)
            share_sqlite(self.engine)
            try:
                migrate(self.engine)
            except BaseException:
                self.engine.dispose()
                raise

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """Open a read-only transaction in which all reads see the same state of the database."""
        with self.session() as session:
            # Every SQLite transaction does.
            if self.engine.dialect.name != "sqlite":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a transaction: committed at the end of the block, rolled back on any error.

        Raises:
            UnreachableError: The database cannot be used.
            LostConnectionError: The connection broke, or the server was busy; a retry may succeed.
        """
        with _reachable(self._url), Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def run_with_retry(self, work: Callable[[Session], Result], patience: float = PATIENCE_SECONDS) -> Result:
        """Run a transaction, and retry it while the server is down or busy.

        Args:
            work: Function of the session; must be idempotent, since a connection may break after the commit.
            patience: Seconds after which no retry starts.

        Returns:
            The result of ``work``.

        Raises:
            UnreachableError: The database cannot be used, or its server did not answer in time.
        """
        deadline, wait = time.monotonic() + patience, MIN_WAIT_SECONDS
        while True:
            try:
                with self.session() as session:
                    return work(session)
            except LostConnectionError:
                if time.monotonic() + wait > deadline:
                    raise
                time.sleep(wait * random.uniform(0.5, 1.5))
                wait = min(2 * wait, MAX_WAIT_SECONDS)


def probe(url: str) -> None:
    """Check that a database answers, without creating tables.

    Raises:
        UnreachableError: The database does not answer.
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
        raise database_error(url, error) from error


def database_error(url: str, error: Exception) -> UnreachableError:
    """Return the error for people of a database that cannot be used.

    Args:
        url: URL of the database.
        error: Error of SQLAlchemy, or of the import of a driver.
    """
    # An SQLAlchemy error may quote the URL; the driver's own error does not.
    said = error if isinstance(error, ModuleNotFoundError) else getattr(error, "orig", None)
    reason = str(said or type(error).__name__).splitlines()[0]
    named = f"The database {safe_url(url)} cannot be used: "
    if isinstance(error, ArgumentError):
        return NoDatabaseError(
            f"{named}this is not a database URL that SQLAlchemy knows. "
            "Write for example --storage sqlite:////path/studies.db or postgresql+psycopg://user@host/database."
        )
    if isinstance(error, ModuleNotFoundError):
        return NoDatabaseError(f"{named}{reason}. Install this driver, or name another one in the URL.")
    if url.startswith("sqlite") and "unable to open" in reason:
        return NoDatabaseError(f"{named}{reason}. Make its folder and give yourself access to it, or name another.")
    if url.startswith("sqlite") and isinstance(error, DatabaseError) and not isinstance(error, OperationalError):
        return NoDatabaseError(f"{named}{reason}. Move it away or restore it, or name another workspace.")
    return (LostConnectionError if _may_pass(url, error) else UnreachableError)(f"{named}{reason}")


def _may_pass(url: str, error: Exception) -> bool:
    """Whether a retry may succeed: after lost connections and deadlocks of a server, not after errors of a file."""
    return isinstance(error, OperationalError | InterfaceError) and not url.startswith("sqlite")
