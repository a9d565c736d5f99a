"""Optuna's storage of a workspace, and the studies in it."""

from __future__ import annotations

import os

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import create_engine, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ...storage.database import database_error, share_sqlite
from ...storage.errors import SchemaError
from ...storage.urls import safe_url
from ...storage.workspace import Workspace
from .optuna_schema import has_known_schema, require_known_schema
from .optuna_tables import read_studies

# Revision of the tables that a version of Optuna makes.
_NEWEST: dict[str, str] = {}


def open_storage(workspace: Workspace) -> RDBStorage:
    """Open Optuna's storage on the workspace's database, which several processes can use.

    Raises:
        UnreachableError: The database does not answer, there is none, or it is damaged.
        SchemaError: The tables belong to another version of Optuna, or to another program.
    """
    url = workspace.studies_url
    try:
        # Two processes must not create the schema at the same time.
        _refuse_foreign(url)
        with FileLock(workspace.lock("studies-schema")):
            storage = _connect(url)
            require_known_schema(storage)
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise database_error(url, error) from error
    except RuntimeError as error:
        # The tables are older or newer than those of the installed Optuna, whose message says what to run.
        raise SchemaError(f"The database {safe_url(url)} cannot be used: {error}") from None
    share_sqlite(storage.engine)
    # The connection that created the schema does not have these settings yet.
    storage.engine.dispose()
    return storage


def _connect(url: str) -> RDBStorage:
    """Open Optuna's storage, which raises RuntimeError if its tables are not those of the installed Optuna.

    Optuna's own check loads all of its migrations, which takes longer than all else here: a process asks it once.
    """
    # Workers use it rarely: their idle connections would exhaust the server's limit.
    engine = {} if url.startswith("sqlite") else {"poolclass": NullPool}
    storage = RDBStorage(url, engine_kwargs=dict(engine), skip_compatibility_check=True)
    if optuna.__version__ not in _NEWEST:
        _NEWEST[optuna.__version__] = storage.get_head_version()
    if storage.get_current_version() == _NEWEST[optuna.__version__]:
        return storage
    storage.engine.dispose()
    return RDBStorage(url, engine_kwargs=dict(engine))


def _refuse_foreign(url: str) -> None:
    """Refuse a database whose table of studies is another program's, before Optuna adds its own tables."""
    engine = create_engine(url, poolclass=NullPool)
    found = inspect(engine)
    own = {column["name"] for column in found.get_columns("studies")} if found.has_table("studies") else None
    if own is not None and not own >= {"study_id", "study_name"}:
        raise SchemaError(
            f"The database {safe_url(url)} has a table 'studies' of another program. "
            "Name another database with --storage, or another folder with --workspace."
        )


def has_studies(workspace: Workspace) -> bool:
    """Return whether there is a database; opening one that is missing would create it."""
    return workspace.storage is not None or os.path.exists(workspace.root / "studies.db")


def find_studies(workspace: Workspace) -> dict[str, int]:
    """Return Optuna's ids of the studies in a workspace by name, the latest last; create no database.

    Raises:
        UnreachableError: See :func:`open_storage`.
        SchemaError: See :func:`open_storage`.
    """
    if not has_studies(workspace):
        return {}
    if (found := _read_known(workspace.studies_url)) is not None:
        return found
    storage = open_storage(workspace)
    try:
        with storage.engine.connect() as connection:
            return read_studies(connection)
    finally:
        storage.engine.dispose()


def _read_known(url: str) -> dict[str, int] | None:
    """Return the ids by name; None if Optuna must look at the database first, which takes longer than all else here."""
    try:
        # As it is: sharing it would change a file that may be another program's.
        engine = create_engine(url, poolclass=NullPool)
        if not has_known_schema(engine):
            return None
        with engine.connect() as connection:
            return read_studies(connection)
    except (SQLAlchemyError, ModuleNotFoundError):
        # Opening it says what is wrong.
        return None


def study_names(workspace: Workspace) -> list[str]:
    """Return the names of the studies in a workspace, the latest last; create no database."""
    return list(find_studies(workspace))
