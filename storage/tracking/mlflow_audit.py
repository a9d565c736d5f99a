"""The runs of a study as MLflow has them, for consistency checks against the study's database."""

from __future__ import annotations

from dataclasses import dataclass, field

from mlflow.entities import Run

from .mlflow_client import open_client, reachable
from .mlflow_database import file_of, lacks_schema
from .mlflow_owners import find_experiment
from .mlflow_runs import KEY, PARENT, search_experiment
from .study_mark import StudyMark


@dataclass(frozen=True)
class KnownRun:
    """A run in MLflow.

    Attributes:
        id: MLflow's id of the run.
        key: Frostline's key of the run; at most one run of a study should have it.
        status: ``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``.
        parent: Id of the parent run; None for a run that is not nested.
        metrics: Latest value of each metric.
        tags: All tags of the run.
    """

    id: str
    key: str
    status: str
    parent: str | None
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def probe(uri: str) -> None:
    """Check that a tracking store answers.

    Raises:
        UnreachableError: The store does not answer.
        RefusedError: The store rejects the request.
    """
    with reachable(uri):
        open_client(uri).search_experiments(max_results=1)


class TrackedStudy:
    """The runs of one study in a tracking store, read once at construction.

    Args:
        uri: URI of the tracking store.
        mark: Mark of the study.

    Attributes:
        runs: Runs, ordered by start time.

    Raises:
        UnreachableError: The store does not answer.
        RefusedError: The study's experiment was deleted; the message says how to restore it.
    """

    def __init__(self, uri: str, mark: StudyMark) -> None:
        self._uri = uri
        self.runs: list[KnownRun] = []
        # A query would create the missing database.
        if lacks_schema(file_of(uri)):
            return
        with reachable(uri):
            self._client = open_client(uri)
            experiment = find_experiment(self._client, mark)
            found = search_experiment(self._client, experiment.experiment_id) if experiment else []
            self.runs = [_known(run) for run in found if KEY in run.data.tags]

    def steps(self, run: KnownRun, metric: str) -> list[int]:
        """Return the steps of a metric, each as often as it was logged.

        Raises:
            UnreachableError: The store does not answer.
        """
        if metric not in run.metrics:
            return []
        with reachable(self._uri):
            return [point.step for point in self._client.get_metric_history(run.id, metric)]

    def delete(self, run: KnownRun) -> None:
        """Delete a run; MLflow keeps it among the deleted runs.

        Raises:
            UnreachableError: The store does not answer.
        """
        with reachable(self._uri):
            self._client.delete_run(run.id)


def _known(run: Run) -> KnownRun:
    return KnownRun(
        id=run.info.run_id,
        key=run.data.tags[KEY],
        status=run.info.status,
        parent=run.data.tags.get(PARENT),
        metrics=run.data.metrics,
        tags=run.data.tags,
    )
