"""Frostline's view of a study's page in MLflow: what wins, at first sight.

MLflow's own list is by date, with columns that are the same for all runs. The view groups the runs by strategy and by
standing in the verdict, finals first, best strategy first; its charts compare the strategies and show what the score
depends on. A view is a tag of the experiment: MLflow's pages list it under "Views", and an address can name it. A
browser that opens it keeps its own view of the experiment.

The format is that of MLflow's front end (its page state, as "Share view" stores it), not of its API.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mlflow import MlflowClient

from .mlflow_client import open_client, reachable

VIEW = "frostline"
NOTE = "mlflow.note.content"
_TAG = f"mlflow.sharedViewState.{VIEW}"
_TITLE = "Frostline"
# Digest of the description that we wrote last.
_OWN_NOTE = "frostline.note"
# Column names of MLflow's front end, with their widths in pixels.
_COLUMNS = {
    "attributes.`Run Name`": 410,
    "metrics.`test_score`": 90,
    "metrics.`test_score_sd`": 100,
    "metrics.`seconds`": 80,
    "metrics.`score`": 80,
    "params.`freeze_depth`": 95,
    "params.`learning_rate`": 100,
    "runDateAndNestInfo": 135,
    "duration": 80,
    "tags.`trial.state`": 90,
    "tags.`finalist`": 70,
}
_ALWAYS_SHOWN = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")
# Only the runs of strategies have these metrics: their order is the verdict's, and a chart has one bar per strategy.
_ORDER, _BAR = "rank", "final_score"
_GROUPS = ("strategy", "standing")
# A chart leaves out runs that lack one of its parameters; strategies that train only a head have no backbone rate.
_HEAD_AXES = ["strategy", "freeze_depth", "head.pooling", "head.hidden_layers", "learning_rate"]
_RATE_AXES = ["strategy", "freeze_depth", "learning_rate", "backbone_lr_ratio"]
# MLflow sorts sections by name: this one comes before those it makes itself.
_SECTION = "Answer"


def keep_view(uri: str, experiment_id: str) -> str:
    """Add the view to an experiment that lacks it, such as one of an earlier version.

    Args:
        uri: URI of the tracking store.
        experiment_id: Id of the experiment.

    Returns:
        Name of the view.

    Raises:
        UnreachableError: The store does not answer.
        RefusedError: The store rejects the tag.
    """
    with reachable(uri):
        client = open_client(uri)
        for tag, view in view_tag().items():
            if client.get_experiment(experiment_id).tags.get(tag) != view:
                client.set_experiment_tag(experiment_id, tag, view)
    return VIEW


def view_tag() -> dict[str, str]:
    """Return the experiment tag that defines the view.

    It contains the state twice: MLflow 3.17 reads it as text beside a title, earlier versions read it directly.
    """
    state = view_state()
    return {_TAG: json.dumps({"name": _TITLE, "createdAt": 0, "state": json.dumps(state), **state})}


def view_state() -> dict[str, Any]:
    """Return the view as the state of MLflow's page."""
    return {
        "selectedColumns": [name for name in _COLUMNS if name not in _ALWAYS_SHOWN],
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
        "orderByKey": f"metrics.`{_ORDER}`",
        "orderByAsc": True,
        "groupBy": {
            "aggregateFunction": "average",
            "groupByKeys": [{"mode": "tag", "groupByData": tag} for tag in _GROUPS],
        },
        # Charts show runs, not groups. Else MLflow draws the first ten runs.
        "useGroupedValuesInCharts": False,
        "runsHiddenMode": "SHOW_ALL",
        "compareRunCharts": [
            _chart("scores", "BAR", metricKey=_BAR),
            _chart("head", "PARALLEL", selectedParams=_HEAD_AXES, selectedMetrics=["score"], showAllRuns=True),
            _chart("rates", "PARALLEL", selectedParams=_RATE_AXES, selectedMetrics=["score"], showAllRuns=True),
        ],
        "compareRunSections": [
            {"uuid": VIEW, "name": _SECTION, "display": True, "isReordered": False, "columns": 2, "cardHeight": 400}
        ],
    }


def _chart(name: str, kind: str, **content: Any) -> dict[str, Any]:
    return {"uuid": f"{VIEW}-{name}", "type": kind, "metricSectionId": VIEW, "runsCountToCompare": 100, **content}


def view_words() -> list[str]:
    """Return the words by which MLflow's front end reads the view; another format has others."""
    return [*view_state(), "viewStateShareKey", "groupByKeys", "selectedParams", "metricSectionId"]


def describe_experiment(client: MlflowClient, experiment_id: str, run_id: str, note: str) -> None:
    """Show the note of a study's run at the head of its page, unless somebody else wrote a description there.

    MLflow shows the first line until it is unfolded; a link to the run with its report follows that line.

    Args:
        client: Client of the store.
        experiment_id: Id of the experiment.
        run_id: Id of the study's run.
        note: Note in Markdown.
    """
    first, _, rest = note.partition("\n")
    text = f"{first} [Report](#/experiments/{experiment_id}/runs/{run_id}/artifacts)\n{rest}"[:5000]
    tags = client.get_experiment(experiment_id).tags
    if NOTE not in tags or tags[NOTE] == text or _digest(tags[NOTE]) == tags.get(_OWN_NOTE):
        client.set_experiment_tag(experiment_id, NOTE, text)
        client.set_experiment_tag(experiment_id, _OWN_NOTE, _digest(text))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
