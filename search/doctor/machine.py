"""Is this machine ready: what a search needs of it, a line each, with what to type where something is missing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ...storage.database.engine import probe
from ...storage.errors import StorageError
from ...storage.tracking.tracker import uri_fault
from ...storage.urls import safe_url
from ...storage.workspace import Workspace

# Less than this is soon full of features, checkpoints and networks.
LEAST_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Line:
    """One thing that a search needs.

    Attributes:
        what: It is.
        found: Here.
        advice: What to type where it is not as it should be; empty where it is.
    """

    what: str
    found: str
    advice: str = ""


def inspect_machine(workspace: Workspace, tracking_uri: str | None = None) -> Iterator[Line]:
    """Look at everything; nothing is made.

    Args:
        workspace: Where studies would be kept.
        tracking_uri: Of MLflow, if it is not the workspace's own.
    """
    yield Line("Python", f"{platform.python_version()}, frostline {version('frostline')}")
    torch = _torch()
    yield torch
    if not torch.advice:
        yield _torchvision()
        yield from _devices()
    yield Line("cores", str(_cores()))
    yield _disk(workspace.root)
    yield _database(workspace)
    yield _mlflow(workspace, tracking_uri)


def _torch() -> Line:
    return _imported("torch", lambda: f"{__import__('torch').__version__}")


def _torchvision() -> Line:
    def works() -> str:
        import torch
        import torchvision

        # One that was made for another torch fails here.
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return torchvision.__version__

    return _imported("torchvision", works)


def _imported(library: str, works: Callable[[], str]) -> Line:
    try:
        return Line(library, works())
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return Line(library, reason, "pip install --force-reinstall torch torchvision, both from one index")


def _devices() -> Iterator[Line]:
    import torch

    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        yield Line(f"GPU {number}", f"{torch.cuda.get_device_name(number)}, {memory}")
    if torch.backends.mps.is_available():
        yield Line("GPU", "Apple's, by MPS")
    elif not torch.cuda.device_count():
        # The driver's own device: there is a GPU, and torch does not see it.
        hidden = Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
        advice = "nvidia-smi; then a torch with CUDA for that driver: https://pytorch.org/get-started/locally"
        yield Line("GPU", "none: training on the CPU", advice if hidden else "")


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _disk(root: Path) -> Line:
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{root}, {free / 1e9:.0f} GB free"
    if not os.access(there, os.W_OK):
        return Line("workspace", f"{found}, not to be written", "name another folder with --workspace")
    advice = "make room there, or name another folder with --workspace"
    return Line("workspace", found, advice if free < LEAST_FREE_BYTES else "")


def _database(workspace: Workspace) -> Line:
    if workspace.storage is None and not (workspace.root / "studies.db").exists():
        return Line("database", "none yet: the first study makes it in the workspace")
    try:
        probe(workspace.studies_url)
    except StorageError as error:
        return Line("database", str(error), "start it, or name another with --storage or FROSTLINE_STORAGE")
    return Line("database", safe_url(workspace.studies_url))


def _mlflow(workspace: Workspace, uri: str | None) -> Line:
    if uri is None and not (workspace.root / "mlflow.db").exists():
        return Line("MLflow", f"{version('mlflow')}; the first study makes its database in the workspace")
    if uri is not None and (fault := uri_fault(uri)):
        return Line("MLflow", fault, "name another with --tracking-uri")
    # It takes seconds to import.
    from ...storage.tracking.mlflow_audit import probe as probe_mlflow

    url = uri or workspace.tracking_url
    try:
        probe_mlflow(url)
    except StorageError as error:
        return Line("MLflow", str(error), "start it, or name another with --tracking-uri")
    return Line("MLflow", f"{version('mlflow')}, {safe_url(url)}")
