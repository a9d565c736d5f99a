"""Optuna's storage of a workspace, and the studies in it."""

from __future__ import annotations

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ...storage.database import share_sqlite
from ...storage.errors import SchemaError, UnreachableError
from ...storage.urls import safe_url
from ...storage.workspace import Workspace
from .optuna_tables import require_known_schema


def open_storage(workspace: Workspace) -> RDBStorage:
    """Open Optuna's storage on the workspace's database, which several processes can use.

    Raises:
        UnreachableError: The database does not answer.
        SchemaError: The tables belong to another version of Optuna.
    """
    url = workspace.studies_url
    try:
        # Two processes must not create the schema at the same time.
        with FileLock(workspace.lock("studies-schema")):
            # Workers use it rarely: their idle connections would exhaust the server's limit.
            storage = RDBStorage(url, engine_kwargs={} if url.startswith("sqlite") else {"poolclass": NullPool})
            require_known_schema(storage)
    except SQLAlchemyError as error:
        raise UnreachableError(f"The database {safe_url(url)} cannot be used: {type(error).__name__}") from error
    except RuntimeError as error:
        # The tables are older or newer than those of the installed Optuna, whose message says what to run.
        raise SchemaError(f"The database {safe_url(url)} cannot be used: {error}") from None
    share_sqlite(storage.engine)
    # The connection that created the schema does not have these settings yet.
    storage.engine.dispose()
    return storage


def has_studies(workspace: Workspace) -> bool:
    """Return whether there is a database; opening one that is missing would create it."""
    return workspace.storage is not None or (workspace.root / "studies.db").exists()


def study_names(workspace: Workspace) -> list[str]:
    """Return the names of the studies in a workspace, the latest last; create no database."""
    if not has_studies(workspace):
        return []
    storage = open_storage(workspace)
    try:
        return optuna.get_all_study_names(storage)
    finally:
        storage.engine.dispose()
