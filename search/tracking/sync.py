"""The upload of log records when no search is running."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from ...storage.errors import RefusedError, StorageError, StudyBusyError, UnreachableError
from ...storage.locks import exclusive
from ...storage.tracking import Journal, Tracker, log_study_file, send_journal
from ..study import Study
from .ended_runs import complete_runs


def sync_studies(studies: Sequence[Study], write: Callable[[str], None]) -> None:
    """Upload the journals of studies, and write one line per study.

    Args:
        studies: Studies to upload.
        write: Function that writes a line.

    Raises:
        StorageError: Some journals could not be uploaded; the others were.
    """
    failures = []
    for study in studies:
        name = study.settings.name
        try:
            with exclusive(study.workspace, name):
                _complete(study)
                sent = send_journal(study.tracking_uri, study.workspace, study.identify(), write)
            write(f"{name}: {sent} records uploaded" if sent else f"{name}: MLflow is up to date")
        except StudyBusyError:
            write(f"{name}: another process works on it and uploads its records")
        except UnreachableError as error:
            failures.append(f"{name}: {error}. Nothing is lost; once that is mended, run: {_command(study)}")
        except RefusedError as error:
            failures.append(f"{name}: {error} Once that is mended, run: {_command(study)}")
    if failures:
        raise StorageError("\n".join(failures))


def _complete(study: Study) -> None:
    """Log the end of the trainings that a killed process recorded but did not tell."""
    name = study.settings.name
    with closing(Journal(study.workspace.journal(name))) as journal:
        tracker = Tracker(journal, study.workspace, name)
        every = journal.may_lack_records(alone=study.workspace.storage is None)
        complete_runs(study, tracker, {*journal.open_keys(), *journal.cut_off_keys()}, every=every)


def log_with_study(study: Study, file: Path, note: Callable[[str], None]) -> None:
    """Log a file to a study's MLflow run, now or, if MLflow does not answer, with the next upload."""
    try:
        _log_file(study, file, note)
    except UnreachableError as error:
        note(f"{error}; upload {file.name} later with: {_command(study)}")
    except RefusedError as error:
        note(f"{error} Send them again with: {_command(study)}")


def _log_file(study: Study, file: Path, note: Callable[[str], None]) -> None:
    name, uri = study.settings.name, study.tracking_uri
    try:
        with exclusive(study.workspace, name):
            log_study_file(study.workspace, name, file)
            send_journal(uri, study.workspace, study.identify(), note)
    except StudyBusyError:
        from ...storage.tracking import log_artifact

        log_artifact(uri or study.workspace.tracking_url, study.mark, file)


def _command(study: Study) -> str:
    return f"frostline sync {study.settings.name}{study.workspace.option}"
