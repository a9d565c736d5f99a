"""MLflow's web app with Frostline's browser defaults, started by ``mlflow server --app-name frostline``.

MLflow 3 stores in the browser whether to show pages for language models or for model training, and starts with the
former: links from a study to a run lead there, whatever their address says. A user's own choice is kept.

This depends on MLflow's internals. If a version does not have what is expected here, its pages stay as they are.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from flask import Flask
from mlflow.server import app as _flask_app
from mlflow.server.fastapi_app import app

from .web_server import MARK

__all__ = ["app"]

# Defaults of MLflow's front end, by key of the browser's local storage.
_DEFAULTS = {
    "mlflow.workflowType_v1": "machine_learning",
    # The assistant needs a language model, and would take a quarter of the first page.
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
}
_SCRIPT = (
    f"<script {MARK}>try{{for(const[k,v]of Object.entries({json.dumps(_DEFAULTS)}))if(localStorage.getItem(k)===null)"
    "localStorage.setItem(k,JSON.stringify(v))}catch{}</script>"
)
# Endpoint of MLflow's start page, and the place of our script in the page.
_ENDPOINT, _PLACE = "serve", "<head>"


def set_defaults(mlflow_app: Flask) -> None:
    """Add our defaults to MLflow's start page, if MLflow has the expected endpoint."""
    plain = mlflow_app.view_functions.get(_ENDPOINT)
    if plain is None:
        return

    def start_page() -> Any:
        """Return MLflow's page with our script first; not cached, since a cache may hold the page without it."""
        file = Path(str(mlflow_app.static_folder)) / "index.html"
        page = file.read_text(encoding="utf-8") if file.exists() else ""
        if _PLACE not in page:
            return plain()
        amended = page.replace(_PLACE, _PLACE + _SCRIPT, 1)
        return mlflow_app.response_class(amended, mimetype="text/html", headers={"Cache-Control": "no-store"})

    mlflow_app.view_functions[_ENDPOINT] = start_page


set_defaults(_flask_app)
