"""The studies in a workspace, by name, without Optuna."""

from __future__ import annotations

import os

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from ...storage.database import database_error
from ...storage.workspace import Workspace
from .optuna_rows import read_studies
from .optuna_schema import has_known_schema


def has_studies(workspace: Workspace) -> bool:
    """Return whether there is a database; opening one that is missing would create it."""
    return workspace.storage is not None or os.path.exists(workspace.root / "studies.db")


def find_studies(workspace: Workspace) -> dict[str, int]:
    """Return Optuna's ids of the studies in a workspace by name, the latest last; create no database.

    Raises:
        UnreachableError: See :func:`.open_storage`.
        SchemaError: See :func:`.open_storage`.
    """
    if not has_studies(workspace):
        return {}
    if (found := _read_known(workspace.studies_url)) is not None:
        return found
    # It loads Optuna, which alone can say what is wrong with other tables.
    from .optuna_storage import open_storage

    storage = open_storage(workspace)
    try:
        with storage.engine.connect() as connection:
            return read_studies(connection)
    except SQLAlchemyError as error:
        raise database_error(workspace.studies_url, error) from error
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
