"""The MLflow client, with a prepared store and errors without secrets."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from mlflow import MlflowClient

from ..errors import RefusedError, StorageError, UnreachableError
from ..urls import hide_secrets, safe_url
from .mlflow_database import create, create_aside, file_of, lacks_schema, let_readers_in

# Error codes for which a retry does not help.
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


def connect(uri: str, lock: Path) -> MlflowClient:
    """Return a client of a store, whose schema is created if it is missing.

    Args:
        uri: URI of the tracking store.
        lock: Path of the lock file under which the schema is created.

    Raises:
        UnreachableError: The store does not answer.
        RefusedError: The store rejects the request.
    """
    file = file_of(uri)
    with reachable(uri):
        if file and lacks_schema(file):
            create_aside(file, lock)
            # Again if that failed: the error is said here.
            create(file, lock)
        prepare_store(uri, lock)
        return open_client(uri)


def open_client(uri: str) -> MlflowClient:
    """Return a client whose models are where the runs are: ``MLFLOW_REGISTRY_URI`` is a setting of other programs."""
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def prepare_store(uri: str, lock: Path) -> None:
    """Create the schema of a server's database if it has none, under a lock; let readers into a SQLite file."""
    with FileLock(lock):
        open_client(uri).search_experiments(max_results=1)
        if file := file_of(uri):
            let_readers_in(file)


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Convert all errors of MLflow to errors of this layer, without secrets of the store's URI.

    Raises:
        UnreachableError: The store does not answer, or fails in a way that a retry may fix.
        RefusedError: The store rejects what was sent.
    """
    try:
        yield
    except StorageError:
        raise
    # Errors of MLflow, SQLAlchemy, drivers and HTTP; none of them may end a search.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        # Messages of HTTP libraries are long; their beginning tells enough.
        reason = textwrap.shorten(hide_secrets(reason, uri), 200, placeholder=" ...")
        # No exception chaining: the original error contains the secret.
        if getattr(error, "error_code", None) in _REFUSALS:
            raise RefusedError(f"MLflow at {safe_url(uri)} refused: {reason}") from None
        raise UnreachableError(f"MLflow at {safe_url(uri)} does not answer: {reason}") from None
