"""What MLflow serves. A file of its own: MLflow copies it into each model and runs it there.

It imports nothing of Frostline by that name: a model brings the package that loads it, under a name of its own.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageClassifier(PythonModel):
    """Class probabilities of images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the network of the artifact ``network``."""
        loader = importlib.import_module(context.model_config["loader"])
        self._model = loader.load_network(Path(context.artifacts["network"]))

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None) -> Any:
        """Label and probabilities of each row's image.

        Args:
            context: Not used.
            model_input: A table with a column ``image``: the bytes of image files.
            params: Not used.

        Returns:
            A table with the columns ``label`` and, for each class, ``probability_CLASS``.
        """
        classes = self._model.card.classes
        probabilities = self._model.predict([bytes(image) for image in model_input["image"]])
        columns = {f"probability_{name}": probabilities[:, place] for place, name in enumerate(classes)}
        return pd.DataFrame({"label": [classes[place] for place in probabilities.argmax(axis=1)], **columns})


set_model(ImageClassifier())
