"""Whether a new study's name is free in MLflow, asked by a short process, so that this one need not import MLflow."""

from __future__ import annotations

import json
import subprocess
import sys

from ..errors import StorageError
from ..program import run_program
from ..urls import safe_url
from .mlflow_database import file_of, lacks_schema
from .mlflow_settings import configure_mlflow

_SECONDS = 60.0


def name_in_use(uri: str, name: str) -> str:
    """Return what in MLflow has a name that a new study would use; empty if nothing has, or MLflow does not answer.

    Args:
        uri: URI of the tracking store.
        name: Name for an experiment and a registered model.
    """
    # A question would create the database.
    if lacks_schema(file_of(uri)):
        return ""
    found = ask_process(uri, name)
    return found and f"MLflow at {safe_url(uri)} has {found}"


def ask_process(uri: str, name: str) -> str:
    """Return what :func:`holder_at` finds, asked in a process of its own."""
    try:
        said = subprocess.run(
            [sys.executable, "-P", "-m", __name__],
            input=json.dumps([uri, name]),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            timeout=_SECONDS,
            check=True,
        )
        return json.loads(said.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def holder_at(uri: str, name: str) -> str:
    """Return what has a name in the MLflow of this process; empty if nothing has, or MLflow does not answer."""
    from . import mlflow_client, mlflow_owners

    try:
        with mlflow_client.reachable(uri):
            return mlflow_owners.holder_of(mlflow_client.open_client(uri), name)
    # The search goes on without MLflow; the sender says why.
    except StorageError:
        return ""


def main() -> None:
    """Answer the question on standard input."""
    configure_mlflow()
    uri, name = json.loads(sys.stdin.readline())
    print(json.dumps(holder_at(uri, name)))


if __name__ == "__main__":
    run_program(main)
