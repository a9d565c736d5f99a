"""Networks as MLflow models: logged with a run, and registered under the name of their study.

A model is identified by the digest of its files. Sending a model again completes an interrupted upload and sets the
aliases; it logs and registers nothing twice.
"""

from __future__ import annotations

import hashlib
import tempfile
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mlflow.entities import Experiment, LoggedModel, LoggedModelOutput, LoggedModelStatus
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

from ..errors import RefusedError
from .mlflow_client import MlflowClient, open_client, reachable
from .mlflow_database import file_of, lacks_schema
from .mlflow_owners import find_experiment, model_name, own_model
from .study_mark import StudyMark

_DIGEST = "frostline.digest"
_SERVED = Path(__file__).with_name("served_model.py")
# Names in the folder of a network.
CODE, EXAMPLE, NETWORK = "code", "example.*", "network"


def log_model(
    client: MlflowClient, experiment: Experiment, mark: StudyMark, run_id: str, content: Mapping[str, Any]
) -> None:
    """Log a network as the model of a run, register it, and set its aliases.

    Args:
        client: Client of the tracking store.
        experiment: Experiment of the study.
        mark: Mark of the study.
        run_id: Id of the training's run.
        content: Content of a journal record: the fields of :class:`ServedModel`.

    Raises:
        RefusedError: The network's files are missing, or the names that the registered model could have are taken.
    """
    folder = Path(content["folder"])
    if not (folder / NETWORK).is_dir():
        raise RefusedError(f"the network's files are gone from {folder}")
    digest, experiment_id = _digest(folder / NETWORK), experiment.experiment_id
    model = _find(client, experiment_id, digest) or client.create_logged_model(
        experiment_id, content["name"], run_id, {_DIGEST: digest}, model_type="classifier"
    )
    if model.status != LoggedModelStatus.READY:
        _upload(client, model, run_id, folder, content)
    outputs = client.get_run(run_id).outputs
    if model.model_id not in {each.model_id for each in (outputs.model_outputs if outputs else [])}:
        client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    name = own_model(client, mark, experiment)
    number = _register(client, name, model, run_id, content["description"])
    for alias in content["aliases"]:
        client.set_registered_model_alias(name, alias, number)


def download_model(uri: str, mark: StudyMark, alias: str, folder: Path) -> Path:
    """Download a registered network.

    Args:
        uri: URI of the tracking store.
        mark: Mark of the study.
        alias: Alias of the version.
        folder: Empty folder to download into.

    Returns:
        Folder with the network and its code, as :func:`log_model` takes it.

    Raises:
        RefusedError: There is no such model.
        UnreachableError: The store does not answer.
    """
    # A query would create the missing database.
    if lacks_schema(file_of(uri)):
        raise RefusedError("there is no MLflow database")
    with reachable(uri):
        client = open_client(uri)
        experiment = find_experiment(client, mark)
        name = mark.name if experiment is None else model_name(client, mark, experiment)
        try:
            version = client.get_model_version_by_alias(name, alias)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise RefusedError(f"there is no model {name}@{alias}") from error
        from mlflow.artifacts import download_artifacts

        local = Path(download_artifacts(artifact_uri=version.source, dst_path=str(folder), tracking_uri=uri))
    # MLflow keeps artifacts in a folder of their own.
    (local / "artifacts" / NETWORK).replace(local / NETWORK)
    return local


def _digest(folder: Path) -> str:
    """Return the SHA-256 digest of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        with file.open("rb") as stream:
            digest.update(f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _find(client: MlflowClient, experiment_id: str, digest: str) -> LoggedModel | None:
    found = client.search_logged_models([experiment_id], f"tags.`{_DIGEST}` = '{digest}'")
    return next(iter(found), None)


def _upload(client: MlflowClient, model: LoggedModel, run_id: str, folder: Path, content: Mapping[str, Any]) -> None:
    """Upload the model's files. After an interrupted upload the same files are sent again."""
    described = Model(
        artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
    )
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        # MLflow warns about type hints of its own classes.
        warnings.simplefilter("ignore")
        # These imports take a second: only if there is a model to send.
        import mlflow.pyfunc
        import pandas as pd

        local = Path(temporary) / "model"
        mlflow.pyfunc.save_model(
            str(local),
            mlflow_model=described,
            python_model=str(_SERVED),
            artifacts={NETWORK: str(folder / NETWORK)},
            code_paths=[str(path) for path in sorted((folder / CODE).iterdir())],
            model_config={"loader": f"{content['package']}.{content.get('loader', 'exported')}"},
            metadata={"temperature": content.get("temperature", 1.0)},
            signature=_signature(content["classes"]),
            input_example=pd.DataFrame({"image": [next(folder.glob(EXAMPLE)).read_bytes()]}),
            pip_requirements=[f"mlflow=={version('mlflow')}", f"pandas=={version('pandas')}", *content["requirements"]],
        )
        client.log_model_artifacts(model.model_id, str(local))
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)


def _signature(classes: list[str]) -> ModelSignature:
    """Return the signature: bytes of image files (base64 in JSON) to a label and the probability of each class."""
    probabilities = [ColSpec(DataType.float, f"probability_{name}") for name in classes]
    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema([ColSpec(DataType.string, "label"), *probabilities]),
    )


def _register(client: MlflowClient, name: str, model: LoggedModel, run_id: str, description: str) -> str:
    """Return the number of the registered version of this model, which is created if it is missing."""
    # A server does not accept a client's folders; a database would resolve models:/ in the process's default store.
    served = urlsplit(client.tracking_uri).scheme in ("http", "https")
    source = f"models:/{model.model_id}" if served else model.artifact_location
    for known in client.search_model_versions(f"name = '{name}'"):
        if known.tags.get(_DIGEST) == model.tags[_DIGEST] and known.source == source:
            return str(known.version)
    tags = {_DIGEST: model.tags[_DIGEST]}
    made = client.create_model_version(name, source, run_id, tags, description=description, model_id=model.model_id)
    return str(made.version)
