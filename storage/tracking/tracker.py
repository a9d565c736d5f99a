"""Logging to MLflow: a parent run for each study, and a nested run for each trial and final, identified by its key.

No call waits for MLflow: records go to the journal, and a separate process uploads them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from ..errors import RefusedError
from ..workspace import Workspace
from .delivery import Delivery
from .journal import Journal
from .journal_records import DATASETS, FILE, FINISH, MODEL, START, STEP, SUMMARY, TEXT, parent_key
from .sender import Killable, Sender, describe_refused, send_all
from .sender_process import SenderProcess
from .study_mark import StudyMark

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def uri_fault(uri: str) -> str | None:
    """Check a tracking URI without contacting its store.

    Args:
        uri: Tracking URI.

    Returns:
        None if the URI is usable; otherwise a message without secrets.

    Examples:
        >>> from frostline.storage.tracking import uri_fault
        >>> uri_fault("ftp://example.org/runs").partition(",")[0]
        '--tracking-uri must begin with one of http'
        >>> uri_fault("sqlite:////data/mlflow.db") is None
        True
    """
    scheme = urlsplit(uri).scheme
    if scheme.partition("+")[0] not in SCHEMES:
        return f"--tracking-uri must begin with one of {', '.join(SCHEMES)}, such as sqlite:////path/mlflow.db."
    if scheme.partition("+")[0] not in _DATABASES:
        return None
    try:
        make_url(uri).get_dialect().import_dbapi()
    except (ImportError, SQLAlchemyError) as error:
        return (
            f"--tracking-uri {scheme}://... needs a driver that is not installed: {error}. Install it, or name another."
        )
    return None


class Appends(Protocol):
    """A journal, or an object that forwards records to one."""

    def append(self, kind: str, key: str, **content: Any) -> None:
        """Append a record of a kind for a run's key."""
        ...

    def open_keys(self) -> list[str]:
        """Return the keys of the runs that were started and not finished."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """A network to log and register as an MLflow model, as plain values.

    Attributes:
        folder: Path of the network's folder, which must exist until it is uploaded.
        package: Name of the package in the folder that loads the network, by ``package.loader.load_network``.
        classes: Names of the classes, in the order of the probabilities.
        requirements: Requirements of the package, as for pip.
        name: Name of the model.
        description: Description of the registered version, in Markdown.
        aliases: Aliases of the registered version.
        loader: Module of the package; records of earlier versions do not name it.
        temperature: Number by which the network divides its logits; in records of earlier versions always 1.
    """

    folder: str
    package: str
    classes: list[str]
    requirements: list[str]
    name: str
    description: str
    aliases: list[str]
    loader: str = "exported"
    temperature: float = 1.0


class TrackedRun:
    """One MLflow run. Its methods append to the journal and raise StorageError if that fails.

    Args:
        journal: Journal of the study.
        key: Key of the run.
    """

    def __init__(self, journal: Appends, key: str) -> None:
        self._journal = journal
        self._key = key
        self._tables: list[dict[str, str]] = []

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None) -> None:
        """Create the run, or resume it if it exists.

        Args:
            name: Display name; an existing run keeps its own.
            params: Parameters of the run; written once.
            tags: Initial tags.
            parent: Key of the parent run; None for the study's run.
        """
        plain = {key: _readable(value) for key, value in params.items()}
        self._journal.append(START, self._key, name=name, params=plain, tags=dict(tags), parent=parent)

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step. A step that was logged before the run was interrupted is not logged twice."""
        self._journal.append(STEP, self._key, step=step, metrics=_floats(metrics))

    def log_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Log metrics of the whole run, and tags. Unchanged values are not logged twice."""
        self._journal.append(SUMMARY, self._key, metrics=_floats(metrics), tags=dict(tags))

    def log_json(self, file: str, content: Any) -> None:
        """Log plain values as a JSON file of the run."""
        self._journal.append(TEXT, self._key, file=file, content=content)

    def log_text(self, file: str, text: str) -> None:
        """Log a text as a file of the run."""
        self._journal.append(TEXT, self._key, file=file, content=text)

    def log_table(self, file: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table as a JSON file that MLflow's pages show as a table."""
        self.log_json(file, {"columns": list(columns), "data": [list(row) for row in rows]})
        self._tables.append({"path": file, "type": "table"})
        self.log_summary({}, {"mlflow.loggedArtifacts": json.dumps(self._tables)})

    def log_file(self, file: Path) -> None:
        """Log a file, with the content that it has when it is uploaded."""
        self._journal.append(FILE, self._key, path=str(file.absolute()))

    def log_datasets(self, datasets: Sequence[Mapping[str, str]]) -> None:
        """Log the run's datasets, each with name, digest, context, source_type, source, schema and profile."""
        self._journal.append(DATASETS, self._key, datasets=[dict(each) for each in datasets])

    def log_model(self, model: ServedModel) -> None:
        """Log a network as a model of the run, and register it. A registered model only gets its aliases."""
        self._journal.append(MODEL, self._key, **asdict(model))

    def finish(self, status: str, name: str | None = None, ended: datetime | None = None) -> None:
        """End the run.

        Args:
            status: ``FINISHED``, ``FAILED`` or ``KILLED``.
            name: New display name; None to keep the name.
            ended: Time of the end; now if None.
        """
        when = {} if ended is None else {"ended": int(ended.timestamp() * 1000)}
        self._journal.append(FINISH, self._key, status=status, name=name, **when)


class Tracker:
    """The nested runs of a study, for workers.

    Args:
        journal: Journal that receives the records.
        workspace: Workspace that holds files until they are uploaded.
        study: Name of the study.
    """

    def __init__(self, journal: Appends, workspace: Workspace, study: str) -> None:
        self.journal = journal
        self._outgoing = workspace.outgoing(study)
        self._parent_key = parent_key(study)

    def run(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None
    ) -> TrackedRun:
        """Create the nested run of a key, or resume it; see :meth:`TrackedRun.start`."""
        run = self.known(key)
        run.start(name, params, tags, parent)
        return run

    def known(self, key: str) -> TrackedRun:
        """Return the run of a key that was started before, without changing its status."""
        return TrackedRun(self.journal, key)

    def unfinished(self) -> Iterator[tuple[str, TrackedRun]]:
        """Return keys and runs of the nested runs in this journal that are not finished."""
        return self._nested(self.journal.open_keys())

    def _nested(self, keys: Iterable[str]) -> Iterator[tuple[str, TrackedRun]]:
        return ((key, self.known(key)) for key in keys if key != self._parent_key)

    def outgoing(self, key: str) -> Path:
        """Create a folder for files of a run that are deleted after their upload."""
        folder = self._outgoing / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def files(self, key: str) -> list[Path]:
        """Return the files of a run that were not deleted yet."""
        return sorted((self._outgoing / key).glob("*"))


class StudyTracker(Tracker):
    """The MLflow runs of one study, for the process that holds the study's lock.

    Args:
        uri: URI of the tracking store; None for the workspace's own database.
        workspace: Workspace that holds the journal, and MLflow's files where the store is local.
        mark: Mark of the study.
        tags: Tags of the parent run.
        note: Function that receives messages when the store does not answer; called from another thread, too.
        sender: Function that makes the connection, from the store's URI, the workspace and the study's mark.

    Attributes:
        parent_run: Run of the study.

    Raises:
        StorageError: The journal cannot be used.
    """

    def __init__(
        self,
        uri: str | None,
        workspace: Workspace,
        mark: StudyMark,
        tags: Mapping[str, str],
        note: Callable[[str], None],
        sender: Callable[[str, Workspace, StudyMark], Killable] = SenderProcess,
    ) -> None:
        journal = self._journal = _open_journal(workspace, mark.name, note)
        super().__init__(journal, workspace, mark.name)
        self._alone = workspace.storage is None
        self.parent_run = TrackedRun(self._journal, self._parent_key)
        self.parent_run.start(mark.name, {}, {**tags, **mark.tags})
        delivery = sender(uri or workspace.tracking_url, workspace, mark)
        self._sender = Sender(delivery, workspace, mark.name, self._journal, note)
        self._sender.start()

    def cut_off(self) -> Iterator[tuple[str, TrackedRun]]:
        """Return keys and runs of the nested runs that were finished as killed and not restarted.

        Records that a killed process did not forward are missing here.
        """
        return self._nested(self._journal.cut_off_keys())

    @property
    def may_lack_records(self) -> bool:
        """Whether records of an earlier process may be lost; see :meth:`Journal.may_lack_records`."""
        return self._journal.may_lack_records(self._alone)

    def close(self) -> None:
        """Upload the remaining records as long as the store accepts them; the others stay in the journal."""
        try:
            self._sender.close()
        finally:
            _tidy(self._journal, self._outgoing)
            self._journal.close()


def log_study_file(workspace: Workspace, study: str, file: Path) -> None:
    """Log a file to a study's parent run with the next upload. The caller holds the study's lock.

    Raises:
        StorageError: The journal cannot be used.
    """
    with closing(Journal(workspace.journal(study))) as journal:
        TrackedRun(journal, parent_key(study)).log_file(file)


def send_journal(uri: str | None, workspace: Workspace, mark: StudyMark, note: Callable[[str], None]) -> int:
    """Upload a study's records that are not in MLflow yet, those that it refused before too.

    The caller holds the study's lock.

    Args:
        uri: URI of the tracking store; None for the workspace's own database.
        workspace: Workspace of the study.
        mark: Mark of the study.
        note: Function that receives messages for the user.

    Returns:
        Number of records sent.

    Raises:
        UnreachableError: The store does not answer or takes nothing; the records that did not arrive are kept.
        RefusedError: The store rejects some of the records, which are kept; it has the others.
        StudyBusyError: Another process is uploading the study's records.
        StorageError: The journal cannot be used.
    """
    url = uri or workspace.tracking_url
    with (
        closing(_open_journal(workspace, mark.name, note)) as journal,
        closing(Delivery(url, workspace, mark, workspace.timing.send_patience)) as delivery,
    ):
        journal.readmit()
        sent = send_all(journal, delivery, note)
        _tidy(journal, workspace.outgoing(mark.name))
        if journal.refused:
            raise RefusedError(describe_refused(journal.refused))
        return sent


def _tidy(journal: Journal, outgoing: Path) -> None:
    if not journal.pending and not journal.refused:
        shutil.rmtree(outgoing, ignore_errors=True)


def _open_journal(workspace: Workspace, study: str, note: Callable[[str], None]) -> Journal:
    journal = Journal(workspace.journal(study))
    if journal.damaged:
        note(
            f"{journal.damaged} lines of {workspace.journal(study)} are damaged; MLflow may lack some curves and files"
        )
    return journal


def _readable(value: Any) -> str:
    """Return a parameter as text, with six digits; the study's database has all digits."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}
