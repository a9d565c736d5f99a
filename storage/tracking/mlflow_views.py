"""Frostline's view of a study's runs in MLflow: columns that distinguish trials, and run names at full length.

MLflow's default shows the dataset, which is the same for all runs, and truncates names. A view is a tag of the
experiment: MLflow's pages list it under "Views", and an address can name it.
"""

from __future__ import annotations

import json

from .mlflow_client import open_client, reachable

VIEW = "frostline"
_TAG = f"mlflow.sharedViewState.{VIEW}"
_TITLE = "Frostline"
# Column names of MLflow's front end, with their widths in pixels.
_COLUMNS = {
    "attributes.`Run Name`": 410,
    "runDateAndNestInfo": 135,
    "duration": 80,
    "metrics.`score`": 90,
    "metrics.`test_score`": 90,
    "params.`freeze_depth`": 100,
    "params.`learning_rate`": 105,
    "tags.`trial.state`": 90,
    "tags.`finalist`": 70,
}
_ALWAYS_SHOWN = ("attributes.`Run Name`", "runDateAndNestInfo", "duration")


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
    state = {
        "selectedColumns": [name for name in _COLUMNS if name not in _ALWAYS_SHOWN],
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
    }
    return {_TAG: json.dumps({"name": _TITLE, "createdAt": 0, "state": json.dumps(state), **state})}
