"""MLflow's settings: made where a process of ours starts, never in a program that imports Frostline."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_UV_AUTO_DETECT": "false"}
OURS = ("MLFLOW_", "DO_NOT_TRACK")


def run(script: str, *args: str, given: str = "", **environment: str) -> Any:
    """What a script's last line says, in a process whose environment has no setting of MLflow's but these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith((*OURS, "KMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, *args],
        env=inherited | environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1])


TELL = "print(json.dumps({name: os.environ[name] for name in os.environ if name in sys.argv[1:]}), file=sys.stderr)"

COMMAND = """
import json, os, sys
from frostline.dashboards.cli import main
names, sys.argv = sys.argv, ["frostline", "--version"]
try:
    main()
except SystemExit:
    sys.argv = names
"""
# Of a process of ours it says how quiet MLflow is there, too.
SENDER = """
import json, logging, os, sys
from frostline.storage.tracking import sender_process
sender_process.main()
import mlflow
names = ("mlflow", "alembic", "mlflow.store.db.utils")
levels = [logging.getLogger(name).getEffectiveLevel() for name in names]
print(json.dumps([{name: os.environ[name] for name in os.environ if name in sys.argv[1:]}, levels]), file=sys.stderr)
"""


@pytest.mark.slow  # A process that imports everything.
def test_importing_frostline_changes_neither_the_environment_nor_optunas_verbosity() -> None:
    script = """
import json, logging, os, sys
import optuna, sklearn, torch  # scikit-learn sets variables of OpenMP.
before = dict(os.environ)
verbosity = optuna.logging.get_verbosity()
import frostline.search
from frostline.search.execution import load_study, resume, run_search
from frostline.search.slots import Resources
from frostline.search.study import Request
import frostline.search.analysis.importance, frostline.search.doctor, frostline.search.study.study
import frostline.storage.tracking.tracker, frostline.storage.tracking.sender_process
assert "mlflow" not in sys.modules
ours = {name: value for name, value in os.environ.items() if before.get(name) != value}
import mlflow
levels = [logging.getLogger(name).level for name in ("mlflow", "alembic", "mlflow.store.db.utils")]
settled = dict(os.environ)
import frostline.storage.tracking.mlflow_runs, frostline.storage.tracking.mlflow_audit
from frostline.storage.tracking import keep_view
assert dict(os.environ) == settled
assert levels == [logging.getLogger(name).level for name in ("mlflow", "alembic", "mlflow.store.db.utils")]
print(json.dumps([ours, optuna.logging.get_verbosity() == verbosity]), file=sys.stderr)
"""
    assert run(script) == [{}, True]


def test_the_command_line_and_the_sender_make_the_settings_keep_the_users_and_quieten_mlflow(tmp_path: Path) -> None:
    command = COMMAND + TELL
    assert run(command, *QUIET) == QUIET
    own = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3"}
    assert run(command, *QUIET, **own) == QUIET | own
    address = {"uri": f"sqlite:///{tmp_path / 'mlflow.db'}", "root": str(tmp_path), "mark": {"name": "tiny", "id": "1"}}
    assert run(SENDER, *QUIET, given=json.dumps(address) + "\n") == [QUIET, [30, 30, 50]]
