"""Sending MLflow what it lacks of a study when no search is at work on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...storage.errors import StorageError, StudyBusyError, UnreachableError
from ...storage.locks import exclusive
from ...storage.tracking.tracker import log_study_file, send_journal
from ..study.study import Study


def sync_studies(studies: Sequence[Study], write: Callable[[str], None]) -> None:
    """Send what the journals of studies hold; one line a study.

    Raises:
        StorageError: Some could not be sent; the others were.
    """
    failures = []
    for study in studies:
        name = study.settings.name
        try:
            with exclusive(study.workspace, name):
                sent = send_journal(study.tracking_uri, study.workspace, name, write)
            write(f"{name}: {sent} records sent" if sent else f"{name}: MLflow has everything")
        except StudyBusyError:
            write(f"{name}: another process works on it, and sends by itself")
        except UnreachableError as error:
            failures.append(f"{name}: {error}. Nothing is lost; once it does: {_command(study)}")
    if failures:
        raise StorageError("\n".join(failures))


def log_with_study(study: Study, file: Path, note: Callable[[str], None]) -> None:
    """Add a file to a study's MLflow run, now or, where MLflow does not answer, by the next sending."""
    name, uri = study.settings.name, study.tracking_uri
    try:
        with exclusive(study.workspace, name):
            log_study_file(study.workspace, name, file)
            send_journal(uri, study.workspace, name, note)
    except StudyBusyError:
        from ...storage.tracking.mlflow_runs import log_artifact

        log_artifact(uri or study.workspace.tracking_url, name, file)
    except UnreachableError as error:
        note(f"{error}; it gets {file.name} by: {_command(study)}")


def _command(study: Study) -> str:
    return f"frostline sync {study.settings.name}{study.workspace.option}"
