"""MLflow itself, imported quietly: its client for a store that is ready, and its errors without secrets.

Whatever here needs MLflow takes it from this module, which tells it first how to behave.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from filelock import FileLock

from ..errors import RefusedError, StorageError, UnreachableError
from ..urls import hide_secrets, safe_url

# Read by mlflow when it is first imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# Standard output belongs to the command line; MLflow would print links there.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# MLflow would try for minutes; the sender has its own patience.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
# A model's requirements are what it needs, not those of a project that the search was started in.
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")

from mlflow import MlflowClient

for _library in ("mlflow", "alembic"):
    logging.getLogger(_library).setLevel(logging.WARNING)
# It writes a traceback whenever a database does not answer; we say it in a line.
logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)

# What sending again does not change.
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}


def connect(uri: str, lock: Path) -> MlflowClient:
    """A client of a store that is ready for use.

    Args:
        uri: Of the store.
        lock: Under which a database's schema is made.

    Raises:
        UnreachableError: The store does not answer.
    """
    if uri.startswith("sqlite:///") and not Path(uri.removeprefix("sqlite:///")).exists():
        _prepare_aside(uri, lock)
    with reachable(uri):
        prepare_store(uri, lock)
        return MlflowClient(tracking_uri=uri)


def prepare_store(uri: str, lock: Path) -> None:
    """Make a database's schema where it has none; two processes that do so together leave a SQLite file unusable."""
    with FileLock(lock):
        MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
        _let_readers_in(uri)


def _prepare_aside(uri: str, lock: Path) -> None:
    """Make the schema in another process, which nobody ends: one made by half leaves the file unusable."""
    code = (
        "import sys, json, pathlib; from frostline.storage.tracking.mlflow_client import prepare_store; "
        "uri, lock = json.load(sys.stdin); prepare_store(uri, pathlib.Path(lock))"
    )
    # Not even Ctrl-C. Should it fail, it is done here, and says why. No argument: arguments can be seen by everyone.
    subprocess.run(
        [sys.executable, "-P", "-c", code],
        input=json.dumps([uri, str(lock)]),
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        check=False,
    )


def _let_readers_in(uri: str) -> None:
    """Switch a SQLite store to WAL, which stays with the file: the UI may read while a search writes."""
    if uri.startswith("sqlite:///"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises into our errors, without the secrets of the store's URI.

    Raises:
        UnreachableError: The store does not answer, or not in a way that sending again could not mend.
        RefusedError: It does not take what was sent.
    """
    try:
        yield
    except StorageError:
        raise
    # From MLflow, SQLAlchemy, drivers and HTTP; none of them may end a search.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        # Of an HTTP library's many words the first ones say it.
        reason = textwrap.shorten(hide_secrets(reason, uri), 200, placeholder=" ...")
        # The error itself stays out of the traceback: it holds the secret.
        if getattr(error, "error_code", None) in _REFUSALS:
            raise RefusedError(f"MLflow at {safe_url(uri)} refused: {reason}") from None
        raise UnreachableError(f"MLflow at {safe_url(uri)} does not answer: {reason}") from None
