"""MLflow's web app with Frostline's browser defaults, started by ``mlflow server --app-name frostline``.

MLflow 3 stores in the browser whether to show pages for language models or for model training, and starts with the
former: links from a study to a run lead there, whatever their address says. A user's own choice is kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow.server import app as _flask_app
from mlflow.server.fastapi_app import app

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
    "<script>try{for(const[k,v]of Object.entries(%s))if(localStorage.getItem(k)===null)"
    "localStorage.setItem(k,JSON.stringify(v))}catch{}</script>"
)


def start_page() -> Any:
    """Return MLflow's page with our script first; not cached, since a cache may hold the page without it."""
    page = (Path(str(_flask_app.static_folder)) / "index.html").read_text(encoding="utf-8")
    amended = page.replace("<head>", "<head>" + _SCRIPT % json.dumps(_DEFAULTS), 1)
    return _flask_app.response_class(amended, mimetype="text/html", headers={"Cache-Control": "no-store"})


_flask_app.view_functions["serve"] = start_page
