"""What MLflow's list of a study's runs shows: the columns that tell trials apart, and names at full length.

MLflow's own choice is the dataset, which is the same for all, and names that are cut off. A view is a tag of the
experiment: MLflow's pages offer it under "Views", and open at it where an address names it.
"""

from __future__ import annotations

import json

from .mlflow_client import MlflowClient, reachable

VIEW = "frostline"
_TAG = f"mlflow.sharedViewState.{VIEW}"
_TITLE = "Frostline"
# By their names in MLflow's front end, with their widths in pixels.
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
    """Give an experiment the view if it lacks it, as studies of earlier versions do; returns the view's name.

    Raises:
        StorageError: The store does not answer, or refuses.
    """
    with reachable(uri):
        client = MlflowClient(tracking_uri=uri)
        for tag, view in view_tag().items():
            if client.get_experiment(experiment_id).tags.get(tag) != view:
                client.set_experiment_tag(experiment_id, tag, view)
    return VIEW


def view_tag() -> dict[str, str]:
    """The tag of an experiment that is the view.

    Written twice in one: MLflow 3.17 looks for a title and the state as text, earlier ones for the state itself.
    """
    state = {
        "selectedColumns": [name for name in _COLUMNS if name not in _ALWAYS_SHOWN],
        "columnOrder": list(_COLUMNS),
        "columnWidths": _COLUMNS,
    }
    return {_TAG: json.dumps({"name": _TITLE, "createdAt": 0, "state": json.dumps(state), **state})}
