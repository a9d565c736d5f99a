"""Optuna's storage of a workspace: opened, and its studies created and loaded for writing."""

from __future__ import annotations

from typing import Any

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
from ..optuna_logging import quiet_optuna
from .optuna_schema import require_known_schema

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


def create_optuna_study(name: str, workspace: Workspace) -> optuna.Study:
    """Create an Optuna study, whose scores are the better the higher; errors as of :func:`open_storage`."""
    with quiet_optuna():
        return optuna.create_study(study_name=name, storage=open_storage(workspace), direction="maximize")


def load_optuna_study(name: str, workspace: Workspace) -> optuna.Study:
    """Load an Optuna study; errors as of :func:`open_storage`."""
    return optuna.load_study(study_name=name, storage=open_storage(workspace))


def close_optuna_study(study: optuna.Study) -> None:
    """Close the connections of a study to its database; the next use opens new ones."""
    # Optuna puts a cache before a storage that is a database.
    storage: Any = getattr(study._storage, "_backend", study._storage)
    storage.engine.dispose()
