"""The schema of an MLflow database against the installed MLflow.

MLflow opens only a database with its own schema. It may even change an older one at the first look, so this is read
without MLflow's store: the revision in the database, and the revisions that the installed MLflow can lead to its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from ..urls import safe_url
from .mlflow_client import reachable
from .mlflow_database import file_of, lacks_schema

_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class SchemaFault:
    """A schema that the installed MLflow cannot use.

    Attributes:
        what: What is wrong.
        remedy: What to type.
    """

    what: str
    remedy: str


def schema_fault(uri: str) -> SchemaFault | None:
    """Compare the schema of a tracking store with the installed MLflow, without changing the store.

    Args:
        uri: URI of the tracking store.

    Returns:
        None if they agree, if the store has no schema yet, or if it is a server, which keeps its own.

    Raises:
        UnreachableError: The database does not answer.
    """
    known = _revisions()
    if not known or (stored := _stored(uri)) in (None, known[0]):
        return None
    library = f"MLflow {version('mlflow')}"
    if stored in known:
        return SchemaFault(
            f"its database has the schema of an older MLflow (revision {stored}; {library} has {known[0]})",
            f"stop what uses it and copy it, then run: mlflow db upgrade {safe_url(uri)}",
        )
    return SchemaFault(
        f"its database has the schema of a newer MLflow (revision {stored}, which {library} does not know)",
        "pip install --upgrade mlflow",
    )


def _stored(uri: str) -> str | None:
    """Return the revision of a database; None if there is none."""
    kind = uri.partition("://")[0].partition("+")[0]
    if kind not in _DATABASES or lacks_schema(file_of(uri)):
        return None
    with reachable(uri), create_engine(uri, poolclass=NullPool).connect() as connection:
        return next(iter(MigrationContext.configure(connection).get_current_heads()), None)


def _revisions() -> list[str]:
    """Return the revisions of the installed MLflow, its own first; empty if it keeps them elsewhere."""
    spec = find_spec("mlflow")
    folder = Path(str(spec and spec.origin)).parent / "store" / "db_migrations"
    return [each.revision for each in ScriptDirectory(folder).walk_revisions()] if folder.exists() else []
