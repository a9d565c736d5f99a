"""How MLflow behaves in a process of ours: no telemetry, nothing printed, no retries of its own."""

from __future__ import annotations

import logging
import os

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # Standard output belongs to the command line: MLflow must not print links there.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # MLflow would retry for minutes; the sender has its own retries.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    # A model's requirements are its own, not those of the project in the current folder.
    "MLFLOW_UV_AUTO_DETECT": "false",
}


def configure_mlflow() -> None:
    """Set what the user has not set; call it where a process of ours starts, before it imports MLflow.

    It changes ``os.environ`` and loggers, so no module calls it when it is imported: a program that imports Frostline
    keeps its own settings, and its searches upload from a process of ours.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # It logs a traceback when a database does not answer; our error says it in one line.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
