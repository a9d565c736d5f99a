"""MLflow's web app with our defaults for browsers: MLflow starts it as ``mlflow server --app-name frostline``.

MLflow 3 keeps in the browser whether its pages are those for language models or those for model training, and begins
with the former: links to a run lead there from the pages of a study, whatever their address says. What a user has
chosen stays.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mlflow.server import app as _flask_app
from mlflow.server.fastapi_app import app

__all__ = ["app"]

# Of MLflow's front end, by the keys of the browser's local storage.
_DEFAULTS = {
    "mlflow.workflowType_v1": "machine_learning",
    # The assistant, which needs a language model, would take a quarter of the first page.
    "mlflow.assistant.fab.autoOpenedOnFirstLoad_v1": True,
    "mlflow.settings.telemetry.enabled_v1": False,
    "mlflow.telemetry.info.alert.dismissed_v1": True,
}
_SCRIPT = (
    "<script>try{for(const[k,v]of Object.entries(%s))if(localStorage.getItem(k)===null)"
    "localStorage.setItem(k,JSON.stringify(v))}catch{}</script>"
)


def start_page() -> Any:
    """MLflow's page, with a script before its own; never from a cache that may hold the page without it."""
    page = (Path(str(_flask_app.static_folder)) / "index.html").read_text(encoding="utf-8")
    amended = page.replace("<head>", "<head>" + _SCRIPT % json.dumps(_DEFAULTS), 1)
    return _flask_app.response_class(amended, mimetype="text/html", headers={"Cache-Control": "no-store"})


_flask_app.view_functions["serve"] = start_page
