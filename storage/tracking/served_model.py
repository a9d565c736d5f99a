"""The model class that MLflow serves. MLflow copies this file into each model and runs it there.

It must not import Frostline by name: each model contains the package that loads it, under a unique name.
"""

from __future__ import annotations

import base64
import binascii
import importlib
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageClassifier(PythonModel):
    """A classifier from image files to class probabilities."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network from the artifact ``network``."""
        loader = importlib.import_module(context.model_config["loader"])
        self._model = loader.load_network(Path(context.artifacts["network"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> Any:
        """Return the label and the class probabilities of each row's image.

        Args:
            context: Unused.
            model_input: Table with a column ``image`` that holds image files, as bytes or in base64.
            params: Unused.

        Returns:
            Table with the columns ``label`` and, for each class, ``probability_CLASS``.
        """
        classes = self._model.card.classes
        probabilities = self._model.predict([_image_file(image) for image in model_input["image"]])
        columns = {f"probability_{name}": probabilities[:, place] for place, name in enumerate(classes)}
        return pd.DataFrame({"label": [classes[place] for place in probabilities.argmax(axis=1)], **columns})


def _image_file(given: bytes | str) -> bytes:
    """Return the bytes of an image file. MLflow decodes base64 in tables, but not in ``instances`` and ``inputs``."""
    content = given.encode() if isinstance(given, str) else bytes(given)
    try:
        # No image file has base64's characters only.
        return base64.b64decode(content.replace(b"\n", b""), validate=True)
    except binascii.Error:
        return content


set_model(ImageClassifier())
