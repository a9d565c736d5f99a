"""MLflow runs made from journal records: an experiment and a parent run for each study, a nested run for each key.

Sending records again changes nothing: runs are found by their keys, and points of their history are not logged twice.
"""

from __future__ import annotations

import getpass
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from ..errors import RefusedError
from ..workspace import Workspace
from .journal_records import (
    AGAIN,
    DATASETS,
    FILE,
    FINISH,
    MODEL,
    START,
    STEP,
    SUMMARY,
    TEXT,
    JournalRecord,
    parent_key,
)
from .mlflow_client import MlflowClient, connect, open_client, reachable
from .mlflow_database import file_of
from .mlflow_models import log_model
from .mlflow_owners import find_experiment, model_name, own_experiment
from .mlflow_views import NOTE, describe_experiment, view_tag
from .study_mark import StudyMark

# Without this tag MLflow shows its pages for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
KEY = "frostline.key"
PARENT = "mlflow.parentRunId"
_PAGE = 1000
# Seconds after which the known history of a run is read again: after a suspend longer than a lease, another machine may
# have resumed the trial.
TRUST_SECONDS = 10.0


@dataclass
class _Sent:
    """A run and the points that it has in MLflow; the metrics in ``unread`` have points that are not known yet."""

    run_id: str
    running: bool
    unread: set[str] = field(default_factory=set)
    steps: set[tuple[str, int]] = field(default_factory=set)
    times: set[tuple[str, int]] = field(default_factory=set)
    last: dict[str, str] = field(default_factory=dict)
    at: float = field(default_factory=time.monotonic)

    def add(self, point: Metric) -> None:
        self.steps.add((point.key, point.step))
        self.times.add((point.key, point.timestamp))
        # As text, so that NaN equals NaN.
        self.last[point.key] = repr(point.value)

    def knows(self, point: Metric, kind: str) -> bool:
        """Return whether a point need not be sent: its step is logged, or its summary value is unchanged."""
        if kind == STEP:
            return (point.key, point.step) in self.steps
        return (point.key, point.timestamp) in self.times or self.last.get(point.key) == repr(point.value)


class StudyRuns:
    """The runs of one study in a tracking store, for use by one thread.

    **Guarantees:** :meth:`send` is idempotent. A killed process or a broken connection may leave a part of the records;
    sending all of them again, from any process, completes the run without doubled points.

    Args:
        uri: URI of the tracking store.
        workspace: Workspace that holds artifacts and the lock for creating a database's schema.
        mark: Mark of the study.

    Attributes:
        note: Message for the user about the name of a new experiment; empty if it has the study's name.

    Raises:
        UnreachableError: The store does not answer.
        RefusedError: The store takes nothing of this study.
    """

    def __init__(self, uri: str, workspace: Workspace, mark: StudyMark) -> None:
        self._uri = uri
        self._mark = mark
        self._parent_key = parent_key(mark.name)
        self._sent: dict[str, _Sent] = {}
        self._client = connect(uri, workspace.lock("mlflow-schema"))
        with reachable(uri):
            places = {name: self._place(workspace.artifacts / name) for name in (mark.name, mark.other_name)}
            self._experiment, self.note = own_experiment(self._client, mark, _KIND | view_tag(), places)
        self._experiment_id = self._experiment.experiment_id

    def send(self, key: str, records: Sequence[JournalRecord]) -> None:
        """Apply records to a run, which is created if it is missing.

        Args:
            key: Key of the run.
            records: Records of this key, in order.

        Raises:
            UnreachableError: The store does not answer; some of the records may have arrived.
            RefusedError: The store rejects one of the records.
        """
        with reachable(self._uri):
            run = self._run(key, records[0])
            waiting: list[JournalRecord] = []
            for record in records:
                if record.kind in (STEP, SUMMARY):
                    waiting.append(record)
                else:
                    self._log(run, waiting)
                    waiting = []
                    self._act(run, record)
            self._log(run, waiting)
        if records[-1].kind == FINISH:
            del self._sent[key]

    def _run(self, key: str, first: JournalRecord) -> _Sent:
        """Return the run of a key, which is created if it is missing."""
        known = self._sent.get(key)
        if known is None or time.monotonic() - known.at > TRUST_SECONDS:
            found = _find(self._client, self._experiment_id, key, nested=key != self._parent_key)
            self._sent[key] = self._create(key, first) if found is None else _known(found)
        self._sent[key].at = time.monotonic()
        return self._sent[key]

    def _create(self, key: str, first: JournalRecord) -> _Sent:
        # The start record is missing if a user deleted the run, or if a child's record comes first.
        missing: dict[str, Any] = {"name": key.removeprefix("study-"), "tags": {}}
        start = first.content if first.key == key and first.kind == START else missing
        own = {KEY: key, "mlflow.user": _user(), "mlflow.source.name": "frostline"}
        tags = {**start["tags"], **own, **self._above(key, start, first)}
        run = self._client.create_run(self._experiment_id, first.time, tags, run_name=start["name"])
        return _Sent(run.info.run_id, running=True)

    def _above(self, key: str, start: Mapping[str, Any], first: JournalRecord) -> dict[str, str]:
        """Return the tag that nests a run: below the parent named in its start record, else below the study's run."""
        if key == self._parent_key:
            return {}
        return {PARENT: self._run(start.get("parent") or self._parent_key, first).run_id}

    def _act(self, run: _Sent, record: JournalRecord) -> None:
        content = record.content
        if record.kind == START:
            self._start(run, record)
        elif record.kind == TEXT:
            text = content["content"]
            self._client.log_text(
                run.run_id, text if isinstance(text, str) else json.dumps(text, indent=1), content["file"]
            )
        elif record.kind == FILE:
            # The file may have been deleted since.
            if Path(content["path"]).exists():
                self._client.log_artifact(run.run_id, content["path"])
        elif record.kind == DATASETS:
            self._client.log_inputs(run.run_id, [_dataset(each) for each in content["datasets"]])
        elif record.kind == MODEL:
            log_model(self._client, self._experiment, self._mark, run.run_id, content)
        elif record.kind == FINISH:
            if content.get("name"):
                self._client.update_run(run.run_id, name=content["name"])
            self._client.set_terminated(run.run_id, content["status"], content.get("ended", record.time))
            run.running = False

    def _start(self, run: _Sent, record: JournalRecord) -> None:
        if not run.running and AGAIN not in record.content:
            self._client.update_run(run.run_id, status="RUNNING")
            run.running = True
        params = [Param(name, value) for name, value in record.content["params"].items()]
        tags = {**record.content["tags"], **self._above(record.key, record.content, record)}
        self._client.log_batch(run.run_id, params=params, tags=_tags(tags))

    def _log(self, run: _Sent, records: Sequence[JournalRecord]) -> None:
        """Log metrics and tags of several records in one request."""
        points: list[Metric] = []
        tags: dict[str, str] = {}
        for record in records:
            tags |= self._with_model_name(record.content.get("tags", {}))
            for name, value in record.content["metrics"].items():
                self._read(run, name)
                point = Metric(name, value, record.time, record.content.get("step", 0))
                if not run.knows(point, record.kind):
                    points.append(point)
                    run.add(point)
        if points or tags:
            self._client.log_batch(run.run_id, metrics=points, tags=_tags(tags))
        if NOTE in tags:
            describe_experiment(self._client, self._experiment_id, run.run_id, tags[NOTE])

    def _read(self, run: _Sent, metric: str) -> None:
        """Read the history of a metric that the run had before; each one is a request."""
        if metric in run.unread:
            run.unread.remove(metric)
            points = self._client.get_metric_history(run.run_id, metric)
            for point in sorted(points, key=lambda each: (each.timestamp, each.step)):
                run.add(point)

    def _with_model_name(self, tags: Mapping[str, str]) -> dict[str, str]:
        """Return tags whose note names the study's registered model, where it cannot have the study's name."""
        if NOTE not in tags:
            return dict(tags)
        name = model_name(self._client, self._mark, self._experiment)
        return {**tags, NOTE: tags[NOTE].replace(f"models:/{self._mark.name}@", f"models:/{name}@")}

    def require_experiment(self) -> None:
        """Check that the experiment can take runs.

        Raises:
            UnreachableError: The store does not answer.
            RefusedError: The experiment was deleted; the message says how to restore it.
        """
        with reachable(self._uri):
            if find_experiment(self._client, self._mark) is None:
                raise RefusedError(f"the experiment of study {self._mark.name!r} is no longer in MLflow")

    def forget(self) -> None:
        """Read the runs again before the next record, since the last records may have arrived or not."""
        self._sent.clear()

    def close(self) -> None:
        """Move a SQLite store's WAL into its main file, unless another process is reading."""
        if file := file_of(self._uri):
            with suppress(sqlite3.Error), closing(sqlite3.connect(file)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _place(self, folder: Path) -> str | None:
        # A server chooses its own place for artifacts; a database does not know one.
        return None if urlsplit(self._uri).scheme in ("http", "https") else folder.as_uri()


def find_runs(uri: str, mark: StudyMark) -> tuple[str, dict[str, str]] | None:
    """Find a study in MLflow.

    Args:
        uri: URI of the tracking store.
        mark: Mark of the study.

    Returns:
        Id of the experiment, and ids of the runs by key; None if the study is not in MLflow.

    Raises:
        UnreachableError: The store does not answer.
        RefusedError: The study's experiment was deleted.
    """
    with reachable(uri):
        client = open_client(uri)
        experiment = find_experiment(client, mark)
        if experiment is None:
            return None
        runs = search_experiment(client, experiment.experiment_id)
        ids: dict[str, str] = {}
        for run in runs:
            if KEY in run.data.tags:
                ids.setdefault(run.data.tags[KEY], run.info.run_id)
        return experiment.experiment_id, ids if parent_key(mark.name) in ids else {}


def log_artifact(uri: str, mark: StudyMark, file: Path) -> None:
    """Log a file to a study's parent run, if the run is in MLflow.

    Args:
        uri: URI of the tracking store.
        mark: Mark of the study.
        file: Path of the file.

    Raises:
        RefusedError: The store rejects the file, or the study's experiment was deleted.
        UnreachableError: The store does not answer.
    """
    found, key = find_runs(uri, mark), parent_key(mark.name)
    if found and key in found[1]:
        with reachable(uri):
            open_client(uri).log_artifact(found[1][key], str(file))


def _find(client: MlflowClient, experiment_id: str, key: str, *, nested: bool) -> Run | None:
    for run in search_experiment(client, experiment_id, f"tags.`{KEY}` = '{key}'"):
        if nested == (PARENT in run.data.tags):
            return run
    return None


def search_experiment(client: MlflowClient, experiment_id: str, query: str = "") -> Iterator[Run]:
    """Yield the runs of an experiment that match a query, ordered by start time."""
    token = None
    while True:
        page = client.search_runs([experiment_id], query, 1, _PAGE, ["attributes.start_time ASC"], token)
        yield from page
        token = page.token
        if not token:
            return


def _known(run: Run) -> _Sent:
    return _Sent(run.info.run_id, running=run.info.status == "RUNNING", unread=set(run.data.metrics))


def _dataset(content: Mapping[str, str]) -> DatasetInput:
    """Return a dataset input; MLflow ignores one whose name and digest the run has already."""
    described = {name: value for name, value in content.items() if name != "context"}
    return DatasetInput(Dataset(**described), [InputTag("mlflow.data.context", content["context"])])


def _tags(tags: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(name, value[:5000]) for name, value in tags.items()]


def _user() -> str:
    """Return the user's name; the user id where it has no name, as in some containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
