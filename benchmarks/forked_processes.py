"""Processes forked from one that has imported everything, so that a command in them takes a second instead of ten."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

# Seconds after which a command counts as hanging.
PATIENCE = 150.0


def fork(work: Callable[[], int], output: Path) -> int:
    """Run in a new process, with what it prints in a file; its process id."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    code = 1
    try:
        os.setsid()
        # A benchmark in the background of a shell ignores them, and so would its commands.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        os.dup2(target, 1)
        os.dup2(target, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        # The parent's pool of threads is no good here: two threads that renew it at once abort the process.
        torch.set_num_threads(torch.get_num_threads())
        code = work()
    # As the interpreter would for a bug of the command.
    except BaseException:
        traceback.print_exc()
    with suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def wait(pid: int, seconds: float) -> int | None:
    """Exit status of a process of ours; None if it had to be killed, with all that it started."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def import_everything() -> None:
    """Before anything is forked: a command that imports for itself takes ten seconds more."""
    import importlib
    import pkgutil

    for library in (
        "mlflow.entities",
        "mlflow.store.tracking.sqlalchemy_store",
        "sklearn.datasets",
        "benchmarks.damage",
    ):
        importlib.import_module(library)

    import frostline.dashboards
    import frostline.objectives
    import frostline.search
    import frostline.storage

    layers: list[Any] = [frostline.storage, frostline.objectives, frostline.search, frostline.dashboards]
    for layer in layers:
        for module in pkgutil.walk_packages(layer.__path__, f"{layer.__name__}."):
            if "ray" not in module.name and not module.name.endswith(("mlflow_app", "optuna_ui")):
                with suppress(ImportError):
                    importlib.import_module(module.name)
    # What processes keep once they have made it.
    from plotly import graph_objects

    from frostline.search.study import sources_digest

    sources_digest()
    graph_objects.Figure(graph_objects.Scatter(x=[0], y=[0])).to_json()


def make_templates(folder: Path) -> Path:
    """A MLflow database without runs, to be copied: making its tables takes seconds."""
    from mlflow import MlflowClient

    folder.mkdir()

    def work() -> int:
        MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}").search_experiments()
        return 0

    if wait(fork(work, folder / "output.txt"), PATIENCE) != 0:
        raise RuntimeError((folder / "output.txt").read_text()[-2000:])
    return folder
