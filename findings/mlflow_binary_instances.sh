#!/usr/bin/env bash
# MLflow's scoring server decodes base64 for a column of type `binary` in some request formats and not in others.
#
# Version: mlflow 3.17.2 (Python 3.11).
# Behavior: a model whose signature has a `binary` column gets the decoded bytes of `dataframe_split` and
#   `dataframe_records`. Of `instances` and `inputs`, the same values arrive as the bytes of the base64 text, with status
#   200 and no warning. So one image gives two different predictions, by the format of the request.
# Output seen: dataframe_split 256, dataframe_records 256, instances 344, inputs 344 (length of what the model got, for
#   256 bytes).
# Exits 0 while that is so, 1 when it changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mlflow==3.17.2 httpx==0.28.1
cd "$folder"
cat > show.py <<'PYTHON'
import base64
import json
import sys

import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.pyfunc.scoring_server import init
from mlflow.types import ColSpec, Schema
from starlette.testclient import TestClient


class Length(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [len(value) for value in model_input["image"]]


signature = ModelSignature(Schema([ColSpec("binary", "image")]), Schema([ColSpec("long")]))
mlflow.pyfunc.save_model("model", python_model=Length(), signature=signature, pip_requirements=[])
client = TestClient(init(mlflow.pyfunc.load_model("model")))
text = base64.b64encode(np.arange(256, dtype=np.uint8).tobytes()).decode()
requests = {
    "dataframe_split": {"dataframe_split": {"columns": ["image"], "data": [[text]]}},
    "dataframe_records": {"dataframe_records": [{"image": text}]},
    "instances": {"instances": [{"image": text}]},
    "inputs": {"inputs": {"image": [text]}},
}
seen = {}
for name, request in requests.items():
    answer = client.post("/invocations", content=json.dumps(request), headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, (name, answer.status_code, answer.text[:300])
    seen[name] = answer.json()["predictions"][0]
    print(name, seen[name])
expected = {"dataframe_split": 256, "dataframe_records": 256, "instances": len(text), "inputs": len(text)}
sys.exit(seen != expected)
PYTHON
"$folder/venv/bin/python" show.py 2> errors.txt || { cat errors.txt; exit 1; }
