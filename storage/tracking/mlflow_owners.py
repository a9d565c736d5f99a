"""Whose an experiment or a registered model is: a study only ever changes its own.

What belongs to a study has its id as a tag. Where its name is taken, it has another name, which ends in the id. A study
of an earlier version takes over what has no id and fits its data.
"""

from __future__ import annotations

from collections.abc import Mapping

from mlflow.entities import Experiment, LifecycleStage, ViewType
from mlflow.entities.model_registry import RegisteredModel
from mlflow.exceptions import MlflowException

from ..errors import RefusedError
from ..urls import safe_url
from .mlflow_client import MlflowClient
from .study_mark import STUDY, STUDY_ID, StudyMark

_TAKEN, _MISSING = "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"
_FINGERPRINT = "frostline.fingerprint"


def find_experiment(client: MlflowClient, mark: StudyMark) -> Experiment | None:
    """Return the experiment of a study; None if it has none.

    Raises:
        RefusedError: The experiment was deleted; the message says how to restore it.
    """
    found = _marked_experiment(client, mark)
    if found is None:
        named = client.get_experiment_by_name(mark.name)
        found = named if named and _is_earlier(client, named, mark) else None
    if found is not None and found.lifecycle_stage != LifecycleStage.ACTIVE:
        raise RefusedError(
            f"the experiment {found.name!r} of this study was deleted in MLflow at {safe_url(client.tracking_uri)}. "
            f"Restore it, with MLFLOW_TRACKING_URI set to that address: "
            f"mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return found


def own_experiment(
    client: MlflowClient, mark: StudyMark, tags: Mapping[str, str], place: Mapping[str, str | None]
) -> tuple[Experiment, str]:
    """Return the experiment of a study, which is created if it is missing.

    Args:
        client: Client of the tracking store.
        mark: Mark of the study.
        tags: Further tags of a new experiment.
        place: Location of the artifacts of a new experiment, by its name.

    Returns:
        The experiment, and a message if it is new and could not have the study's name.

    Raises:
        RefusedError: The experiment was deleted; the message says how to restore it.
    """
    if (found := find_experiment(client, mark)) is not None:
        if STUDY_ID not in found.tags:
            client.set_experiment_tag(found.experiment_id, STUDY_ID, mark.id)
        return found, ""
    for name in (mark.name, mark.other_name):
        try:
            made = client.create_experiment(name, place[name], {**tags, **mark.tags})
        except MlflowException as error:
            if error.error_code != _TAKEN:
                raise
            # Another machine that works on the same study may have been faster.
            if (found := _marked_experiment(client, mark)) is not None:
                return found, ""
        else:
            what = f"MLflow has an experiment {mark.name!r} of another study; the one of this study is {name!r}."
            return client.get_experiment(made), "" if name == mark.name else what
    raise RefusedError(f"MLflow has the experiments {mark.name!r} and {mark.other_name!r} of other studies")


def holder_of(client: MlflowClient, name: str) -> str:
    """Return what has a name in MLflow; empty if it is free for a new study."""
    if (found := client.get_experiment_by_name(name)) is not None:
        deleted = "" if found.lifecycle_stage == LifecycleStage.ACTIVE else "deleted "
        return f"the {deleted}experiment {name!r} of {'another study' if STUDY in found.tags else 'someone else'}"
    if (model := _registered(client, name)) is not None:
        return f"the registered model {name!r} of {'another study' if STUDY in model.tags else 'someone else'}"
    return ""


def model_name(client: MlflowClient, mark: StudyMark, experiment: Experiment) -> str:
    """Return the name of a study's registered model, which may not exist."""
    if own := client.search_registered_models(f"tags.`{STUDY_ID}` = '{mark.id}'"):
        return own[0].name
    known = _registered(client, experiment.name)
    if known is None or _is_earlier_model(client, known, mark, experiment):
        return experiment.name
    return f"{experiment.name}-{mark.id[:8]}"


def own_model(client: MlflowClient, mark: StudyMark, experiment: Experiment) -> str:
    """Return the name of a study's registered model, which is created or marked if necessary.

    Raises:
        RefusedError: Others have all names that it could have.
    """
    name = model_name(client, mark, experiment)
    known = _registered(client, name)
    if known is None:
        try:
            client.create_registered_model(name, mark.tags)
        except MlflowException as error:
            if error.error_code != _TAKEN:
                raise
            # Another machine that works on the same study may have been faster.
            known = _registered(client, name)
    elif STUDY_ID not in known.tags and _is_earlier_model(client, known, mark, experiment):
        client.set_registered_model_tag(name, STUDY_ID, mark.id)
        known = None
    if known is not None and known.tags.get(STUDY_ID) != mark.id:
        raise RefusedError(f"the registered model {name!r} is of someone else")
    return name


def _marked_experiment(client: MlflowClient, mark: StudyMark) -> Experiment | None:
    """Return the experiment with a study's id; of several, one that is not deleted."""
    if not mark.id:
        return None
    found = client.search_experiments(ViewType.ALL, filter_string=f"tags.`{STUDY_ID}` = '{mark.id}'")
    return min(found, key=lambda each: each.lifecycle_stage != LifecycleStage.ACTIVE, default=None)


def _is_earlier(client: MlflowClient, experiment: Experiment, mark: StudyMark) -> bool:
    """Return whether an experiment without an id has the parent run of this study of an earlier version."""
    if mark.data is None or STUDY_ID in experiment.tags:
        return False
    parent = f"tags.`frostline.key` = 'study-{mark.name}' AND tags.`{_FINGERPRINT}` = '{mark.data}'"
    return bool(client.search_runs([experiment.experiment_id], parent, ViewType.ALL, max_results=1))


def _is_earlier_model(client: MlflowClient, model: RegisteredModel, mark: StudyMark, experiment: Experiment) -> bool:
    """Return whether a registered model without an id has versions of this study's runs only."""
    if mark.data is None or STUDY_ID in model.tags or model.tags.get(STUDY) != mark.name:
        return False
    versions = client.search_model_versions(f"name = '{model.name}'")
    return all(_experiment_of(client, version.run_id) == experiment.experiment_id for version in versions)


def _experiment_of(client: MlflowClient, run_id: str | None) -> str | None:
    try:
        return client.get_run(run_id).info.experiment_id if run_id else None
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        return None


def _registered(client: MlflowClient, name: str) -> RegisteredModel | None:
    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != _MISSING:
            raise
        return None
