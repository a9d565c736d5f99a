"""MLflow: one experiment and one parent run a study, one nested run a trial or final, found again by its key."""

from __future__ import annotations

import getpass
import json
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock

from .errors import UnreachableError
from .workspace import Workspace

# Read by mlflow when it is first imported.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
# Standard output belongs to the command line; MLflow would print links there.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

# Without it MLflow's pages are those for language models.
_KIND = {"mlflow.experimentKind": "custom_model_development"}
_KEY = "frostline.key"
_PARENT = "mlflow.parentRunId"
_PAGE = 1000


def _user() -> str:
    """Who runs this; in a container the number may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _display(uri: str) -> str:
    """The URI without user and password."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _let_readers_in(uri: str) -> None:
    """Switch a SQLite store to WAL, which stays with the file: the UI may read while a search writes."""
    if uri.startswith("sqlite:///"):
        with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as connection:
            connection.execute("PRAGMA journal_mode=WAL")


SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


class StudyTracker:
    """The MLflow side of one study.

    Args:
        uri: Of the tracking store; the workspace's own database if None.
        workspace: Holds artifacts and the lock under which the database's schema is made.
        study: Name of experiment and parent run.
        tags: Of the parent run.

    Raises:
        UnreachableError: The store does not answer.
    """

    def __init__(self, uri: str | None, workspace: Workspace, study: str, tags: Mapping[str, str]) -> None:
        self.uri = uri or workspace.tracking_url
        # Two processes that first touch a SQLite store together leave it unusable.
        with reachable(self.uri), FileLock(workspace.lock("mlflow-schema")):
            self.client = MlflowClient(tracking_uri=self.uri)
            _let_readers_in(self.uri)
            self.experiment_id = self._experiment(study, workspace.artifacts)
            self.parent = self._open(f"study-{study}", study, {**tags, "frostline.study": study}, parent=None)

    def run(self, key: str, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> TrackedRun:
        """The nested run of a key, made when it is not there yet; a run that was cut off goes on."""
        with reachable(self.uri):
            run = self._open(key, name, tags, parent=self.parent.info.run_id)
            tracked = TrackedRun(self.client, run, self.uri)
            tracked.log_params(params)
        return tracked

    @property
    def parent_run(self) -> TrackedRun:
        return TrackedRun(self.client, self.parent, self.uri)

    def unfinished(self) -> Iterator[tuple[str, TrackedRun]]:
        """Keys and runs of nested runs that still say RUNNING."""
        with reachable(self.uri):
            for run in self._search(
                f"tags.`{_PARENT}` = '{self.parent.info.run_id}' and attributes.status = 'RUNNING'"
            ):
                yield run.data.tags[_KEY], TrackedRun(self.client, run, self.uri)

    def _experiment(self, study: str, artifacts: Path) -> str:
        found = self.client.get_experiment_by_name(study)
        if found is not None:
            return found.experiment_id
        # A server chooses its own place for artifacts; a database does not know one.
        own = None if urlsplit(self.uri).scheme in ("http", "https") else (artifacts / study).as_uri()
        return self.client.create_experiment(study, artifact_location=own, tags=_KIND)

    def _open(self, key: str, name: str, tags: Mapping[str, str], parent: str | None) -> Run:
        scope = "" if parent is None else f" and tags.`{_PARENT}` = '{parent}'"
        for run in self._search(f"tags.`{_KEY}` = '{key}'{scope}"):
            self.client.update_run(run.info.run_id, status="RUNNING")
            return self.client.get_run(run.info.run_id)
        own = {_KEY: key, "mlflow.user": _user(), "mlflow.source.name": "frostline"}
        nested = {} if parent is None else {_PARENT: parent}
        return self.client.create_run(self.experiment_id, run_name=name, tags={**tags, **own, **nested})

    def _search(self, query: str) -> Iterator[Run]:
        token = None
        while True:
            page = self.client.search_runs([self.experiment_id], query, max_results=_PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return


def log_artifact(uri: str, run_id: str, file: Path) -> None:
    """Add a file to a run, whatever its status.

    Raises:
        UnreachableError: The store does not answer.
    """
    with reachable(uri):
        MlflowClient(tracking_uri=uri).log_artifact(run_id, str(file))


class TrackedRun:
    """One MLflow run, written to while a trial trains."""

    def __init__(self, client: MlflowClient, run: Run, uri: str) -> None:
        self._client = client
        self._uri = uri
        self.run_id: str = run.info.run_id
        self._last_step = self._logged_until(run)

    def log_params(self, params: Mapping[str, Any]) -> None:
        with reachable(self._uri):
            self._client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in params.items()])

    def log_step(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics of a step; one that was logged before the run was cut off is not logged twice."""
        if step > self._last_step:
            self._log(metrics, step)
            self._last_step = step

    def log_summary(self, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics of the whole run, and tags; what is logged already is not logged twice."""
        with reachable(self._uri):
            known = self._client.get_run(self.run_id).data.metrics
            self._client.log_batch(self.run_id, tags=[RunTag(key, value[:5000]) for key, value in tags.items()])
        self._log({key: value for key, value in metrics.items() if known.get(key) != value}, 0)

    def log_json(self, file: str, content: Any) -> None:
        """Keep plain values as a file of the run."""
        with reachable(self._uri):
            self._client.log_text(self.run_id, json.dumps(content, indent=1), file)

    def finish(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        with reachable(self._uri):
            self._client.set_terminated(self.run_id, status=status)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        with reachable(self._uri):
            self._client.log_batch(
                self.run_id, metrics=[Metric(key, float(value), now, step) for key, value in metrics.items()]
            )

    def _logged_until(self, run: Run) -> int:
        if "epoch" not in run.data.metrics:
            return -1
        return max(metric.step for metric in self._client.get_metric_history(self.run_id, "epoch"))


@contextmanager
def reachable(uri: str) -> Iterator[None]:
    """Turn MLflow's errors into one that names the store, without the secrets of its URI."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, ModuleNotFoundError, sqlite3.Error) as error:
        secret, at, _ = urlsplit(uri).netloc.rpartition("@")
        reason = str(error).splitlines()[0].replace(secret + at, "")
        # The error itself stays out of the traceback: it holds the secret.
        raise UnreachableError(
            f"MLflow at {_display(uri)} refused: {reason}. Check --tracking-uri; go on with: frostline resume"
        ) from None
