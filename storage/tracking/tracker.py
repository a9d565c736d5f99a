"""What a study says to MLflow: a parent run, and one nested run a trial or final, found again by its key.

Nothing here waits for MLflow: what is logged goes to the journal, and from there to MLflow by a process of its own.
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

from ..workspace import Workspace
from .delivery import Delivery
from .journal import DATASETS, FILE, FINISH, MODEL, START, STEP, SUMMARY, TEXT, Journal, parent_key
from .sender import PATIENCE_SECONDS, Killable, Sender, send_all
from .sender_process import SenderProcess

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

    def open_keys(self) -> list[str]:
        """Keys of the runs that were started and not finished."""
        ...


@dataclass(frozen=True)
class ServedModel:
    """A network to be logged and registered, as plain values.

    Attributes:
        folder: Where it lies; stays there until it has been sent.
        package: Name of the folder's package that loads it, by ``package.loader.load_network``.
        classes: Names, in the order of the probabilities.
        requirements: What the package needs, as for pip.
        name: Of the model.
        description: Of the registered version, in Markdown.
        aliases: Of the registered version.
        loader: Module of the package; records of earlier versions do not name it.
    """

    folder: str
    package: str
    classes: list[str]
    requirements: list[str]
    name: str
    description: str
    aliases: list[str]
    loader: str = "exported"


class TrackedRun:
    """One run, written to while a trial trains.

    Args:
        journal: Of the study.
        key: Of the run.
    """

    def __init__(self, journal: Appends, key: str) -> None:
        self._journal = journal
        self._key = key
        self._tables: list[dict[str, str]] = []

    def start(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None) -> None:
        """Make the run, or go on with it if it is there already.

        Args:
            name: For people; one that was there already keeps its own.
            params: What it was made with; written once.
            tags: Those it begins with.
            parent: Key of the run that it is nested in, if that is not the study's.
        """
        plain = {key: _readable(value) for key, value in params.items()}
        self._journal.append(START, self._key, name=name, params=plain, tags=dict(tags), parent=parent)

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step; one that was logged before the run was cut off is not logged twice."""
        self._journal.append(STEP, self._key, step=step, metrics=_floats(metrics))

    def log_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics of the whole run, and tags; what is logged already is not logged twice."""
        self._journal.append(SUMMARY, self._key, metrics=_floats(metrics), tags=dict(tags))

    def log_json(self, file: str, content: Any) -> None:
        """Keep plain values as a file of the run."""
        self._journal.append(TEXT, self._key, file=file, content=content)

    def log_text(self, file: str, text: str) -> None:
        """Keep a text as a file of the run."""
        self._journal.append(TEXT, self._key, file=file, content=text)

    def log_table(self, file: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Keep a table as a file of the run, one that MLflow's pages show as a table."""
        self.log_json(file, {"columns": list(columns), "data": [list(row) for row in rows]})
        self._tables.append({"path": file, "type": "table"})
        self.log_summary({}, {"mlflow.loggedArtifacts": json.dumps(self._tables)})

    def log_file(self, file: Path) -> None:
        """Add a file to the run as it is when it is sent."""
        self._journal.append(FILE, self._key, path=str(file.absolute()))

    def log_datasets(self, datasets: Sequence[Mapping[str, str]]) -> None:
        """Name the datasets that the run uses: name, digest, context, source_type, source, schema and profile each."""
        self._journal.append(DATASETS, self._key, datasets=[dict(each) for each in datasets])

    def log_model(self, model: ServedModel) -> None:
        """Log a network as a model of the run, and register it; one that is registered only gets its aliases."""
        self._journal.append(MODEL, self._key, **asdict(model))

    def finish(self, status: str, name: str | None = None, ended: datetime | None = None) -> None:
        """End the run.

        Args:
            status: FINISHED, FAILED or KILLED.
            name: By which it goes from now on.
            ended: When it did; now if None.
        """
        when = {} if ended is None else {"ended": int(ended.timestamp() * 1000)}
        self._journal.append(FINISH, self._key, status=status, name=name, **when)


class Tracker:
    """The nested runs of a study, for who trains.

    Args:
        journal: Takes what they say.
        workspace: Holds their files until MLflow has them.
        study: Name.
    """

    def __init__(self, journal: Appends, workspace: Workspace, study: str) -> None:
        self.journal = journal
        self._outgoing = workspace.outgoing(study)
        self._parent_key = parent_key(study)

    def run(
        self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str], parent: str | None = None
    ) -> TrackedRun:
        """The nested run of a key, made when it is not there yet; a run that was cut off goes on."""
        run = self.known(key)
        run.start(name, params, tags, parent)
        return run

    def known(self, key: str) -> TrackedRun:
        """The run of a key that was started before, to say more of it; its status stays."""
        return TrackedRun(self.journal, key)

    def unfinished(self) -> Iterator[tuple[str, TrackedRun]]:
        """Keys and runs of nested runs that were started here and not finished."""
        return self._nested(self.journal.open_keys())

    def _nested(self, keys: Iterable[str]) -> Iterator[tuple[str, TrackedRun]]:
        return ((key, self.known(key)) for key in keys if key != self._parent_key)

    def outgoing(self, key: str) -> Path:
        """A folder for files of a run that nobody needs once MLflow has them."""
        folder = self._outgoing / key
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class StudyTracker(Tracker):
    """The MLflow side of one study, for the process that holds the study.

    Args:
        uri: Of the tracking store; the workspace's own database if None.
        workspace: Holds the journal, and MLflow's files where they are local.
        study: Name of experiment and parent run.
        tags: Of the parent run.
        note: Told when the store does not answer; may be called from another thread.
        sender: From the store's URI, the workspace and the study's name to what delivers its records.

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
        sender: Callable[[str, Workspace, str], Killable] = SenderProcess,
    ) -> None:
        journal = self._journal = _open_journal(workspace, study, note)
        super().__init__(journal, workspace, study)
        self.parent_run = TrackedRun(self._journal, self._parent_key)
        self.parent_run.start(study, {}, {**tags, "frostline.study": study})
        delivery = sender(uri or workspace.tracking_url, workspace, study)
        self._sender = Sender(delivery, workspace, study, self._journal, note)
        self._sender.start()

    def cut_off(self) -> Iterator[tuple[str, TrackedRun]]:
        """Keys and runs of nested runs that were finished as killed, and since then not started again as far as known.

        What a worker says last of a run may be lost with the process that keeps it.
        """
        return self._nested(self._journal.cut_off_keys())

    def close(self) -> None:
        """Send what is left while the store takes it; what it does not take is kept."""
        try:
            self._sender.close()
        finally:
            _tidy(self._journal, self._outgoing)
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
        sent = send_all(journal, delivery, note)
        _tidy(journal, workspace.outgoing(study))
        return sent


def _tidy(journal: Journal, outgoing: Path) -> None:
    if not journal.pending:
        shutil.rmtree(outgoing, ignore_errors=True)


def _open_journal(workspace: Workspace, study: str, note: Callable[[str], None]) -> Journal:
    journal = Journal(workspace.journal(study))
    if journal.damaged:
        note(f"{journal.damaged} lines of {workspace.journal(study)} are damaged: MLflow will lack what they said")
    return journal


def _readable(value: Any) -> str:
    """Six digits of a number are as many as anyone reads; the study's database has all."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _floats(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}
