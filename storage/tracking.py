"""What a study says to MLflow: a parent run, and one nested run a trial or final, found again by its key.

Nothing here waits for MLflow: what is logged goes to the journal, and from there to MLflow by a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from .delivery import Delivery
from .journal import FILE, FINISH, START, STEP, SUMMARY, TEXT, Journal, parent_key
from .sender import PATIENCE_SECONDS, Sender, send_all
from .workspace import Workspace

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def uri_fault(uri: str) -> str | None:
    """What is wrong with a tracking URI by itself, whether or not its store answers; no secret is in it."""
    scheme = urlsplit(uri).scheme
    if scheme.partition("+")[0] not in SCHEMES:
        return f"--tracking-uri must begin with one of {', '.join(SCHEMES)}, such as sqlite:////path/mlflow.db."
    if scheme.partition("+")[0] not in _DATABASES:
        return None
    try:
        make_url(uri).get_dialect().import_dbapi()
    except (ImportError, SQLAlchemyError) as error:
        return f"--tracking-uri {scheme}://... needs a driver that is not there: {error}. Install it, or name another."
    return None


class Appends(Protocol):
    """A journal, or what carries records to one."""

    def append(self, kind: str, key: str, **content: Any) -> None:
        """Add a record of a kind for a run's key."""
        ...


class TrackedRun:
    """One run, written to while a trial trains.

    Args:
        journal: Of the study.
        key: Of the run.
    """

    def __init__(self, journal: Appends, key: str) -> None:
        self._journal = journal
        self._key = key

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Make the run, or go on with it if it is there already."""
        plain = {key: str(value) for key, value in params.items()}
        self._journal.append(START, self._key, name=name, params=plain, tags=dict(tags))

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step; one that was logged before the run was cut off is not logged twice."""
        self._journal.append(STEP, self._key, step=step, metrics=_floats(metrics))

    def log_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics of the whole run, and tags; what is logged already is not logged twice."""
        self._journal.append(SUMMARY, self._key, metrics=_floats(metrics), tags=dict(tags))

    def log_json(self, file: str, content: Any) -> None:
        """Keep plain values as a file of the run."""
        self._journal.append(TEXT, self._key, file=file, content=content)

    def log_file(self, file: Path) -> None:
        """Add a file to the run as it is when it is sent."""
        self._journal.append(FILE, self._key, path=str(file.absolute()))

    def finish(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._journal.append(FINISH, self._key, status=status)


class Tracker:
    """The nested runs of a study, for who trains.

    Args:
        journal: Takes what they say.
    """

    def __init__(self, journal: Appends) -> None:
        self.journal = journal

    def run(self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> TrackedRun:
        """The nested run of a key, made when it is not there yet; a run that was cut off goes on."""
        run = TrackedRun(self.journal, key)
        run.start(name, params, tags)
        return run


class StudyTracker(Tracker):
    """The MLflow side of one study, for the process that holds the study.

    Args:
        uri: Of the tracking store; the workspace's own database if None.
        workspace: Holds the journal, and MLflow's files where they are local.
        study: Name of experiment and parent run.
        tags: Of the parent run.
        note: Told when the store does not answer; may be called from another thread.

    Attributes:
        parent_run: The study's own run.

    Raises:
        StorageError: The journal cannot be used.
    """

    def __init__(
        self,
        uri: str | None,
        workspace: Workspace,
        study: str,
        tags: Mapping[str, str],
        note: Callable[[str], None],
    ) -> None:
        journal = self._journal = _open_journal(workspace, study, note)
        super().__init__(journal)
        self._parent_key = parent_key(study)
        self.parent_run = TrackedRun(self._journal, self._parent_key)
        self.parent_run.start(study, {}, {**tags, "frostline.study": study})
        self._sender = Sender(uri or workspace.tracking_url, workspace, study, self._journal, note)
        self._sender.start()

    def unfinished(self) -> Iterator[tuple[str, TrackedRun]]:
        """Keys and runs of nested runs that were started and not finished, by whichever process."""
        for key in self._journal.open_keys():
            if key != self._parent_key:
                yield key, TrackedRun(self._journal, key)

    def close(self) -> None:
        """Send what is left while the store takes it; what it does not take is kept."""
        try:
            self._sender.close()
        finally:
            self._journal.close()


def log_study_file(workspace: Workspace, study: str, file: Path) -> None:
    """Add a file to a study's parent run with the next sending, for who holds the study."""
    with closing(Journal(workspace.journal(study))) as journal:
        TrackedRun(journal, parent_key(study)).log_file(file)


def send_journal(uri: str | None, workspace: Workspace, study: str, note: Callable[[str], None]) -> int:
    """Send what MLflow has not got of a study, for who holds the study; returns the number of records.

    Raises:
        UnreachableError: The store does not answer; what did not arrive is kept.
    """
    url = uri or workspace.tracking_url
    with (
        closing(_open_journal(workspace, study, note)) as journal,
        closing(Delivery(url, workspace, study, PATIENCE_SECONDS)) as delivery,
    ):
        return send_all(journal, delivery, note)


def _open_journal(workspace: Workspace, study: str, note: Callable[[str], None]) -> Journal:
    journal = Journal(workspace.journal(study))
    if journal.damaged:
        note(f"{journal.damaged} lines of {workspace.journal(study)} are damaged: MLflow will lack what they said")
    return journal


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}
