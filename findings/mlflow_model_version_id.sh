#!/usr/bin/env bash
# MLflow's SQL registry forgets the logged model that a model version was made from.
#
# Version: mlflow 3.17.2 (Python 3.11), registry in SQLite.
# Behavior: create_model_version(model_id=...) takes the ID of a logged model, "that is being promoted to a registered
#   model version". The version that it returns, and the one that get_model_version reads, have model_id None, with no
#   error or warning. The ID is left in `source` alone, where that is a models:/ URI.
# Output seen: given m-..., returned None, read None, source models:/m-...
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mlflow==3.17.2
cd "$folder"
cat > show.py <<'PYTHON'
import sys

import mlflow
from mlflow import MlflowClient

mlflow.set_tracking_uri("sqlite:///mlflow.db")
client = MlflowClient()
run = client.create_run(mlflow.create_experiment("birds"))
logged = client.create_logged_model(run.info.experiment_id, name="net", source_run_id=run.info.run_id)
client.finalize_logged_model(logged.model_id, "READY")
client.create_registered_model("birds")
made = client.create_model_version(
    "birds", source=f"models:/{logged.model_id}", run_id=run.info.run_id, model_id=logged.model_id
)
read = client.get_model_version("birds", made.version)
print(f"given {logged.model_id}, returned {made.model_id}, read {read.model_id}, source {read.source}")
sys.exit(not (made.model_id is None and read.model_id is None and read.source == f"models:/{logged.model_id}"))
PYTHON
"$folder/venv/bin/python" show.py 2> errors.txt || { cat errors.txt; exit 1; }
