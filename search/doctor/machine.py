"""The check of a machine: one line per requirement of a search, with the fix if something is missing."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ...storage.database import probe
from ...storage.errors import StorageError
from ...storage.tracking import uri_fault
from ...storage.urls import safe_url
from ...storage.workspace import Workspace

# Features, checkpoints and networks soon fill a smaller disk.
MIN_FREE_BYTES = 2 * 10**9


@dataclass(frozen=True)
class MachineCheck:
    """The check of one requirement.

    Attributes:
        what: Name of the requirement.
        found: State on this machine.
        advice: Fix for the user; empty if the check passed.
    """

    what: str
    found: str
    advice: str = ""


def inspect_machine(workspace: Workspace, tracking_uri: str | None = None) -> Iterator[MachineCheck]:
    """Check everything; create nothing.

    Args:
        workspace: Workspace to check.
        tracking_uri: URI of MLflow; None for the workspace's own.
    """
    yield MachineCheck("Python", f"{platform.python_version()}, frostline {version('frostline')}")
    torch = _torch()
    yield torch
    if not torch.advice:
        yield _torchvision()
        yield from _devices()
    yield MachineCheck("cores", str(_cores()))
    yield _disk(workspace.root)
    yield _database(workspace)
    yield _mlflow(workspace, tracking_uri)


def _torch() -> MachineCheck:
    return _imported("torch", lambda: f"{__import__('torch').__version__}")


def _torchvision() -> MachineCheck:
    def works() -> str:
        import torch
        import torchvision

        # A torchvision built for another torch fails here.
        torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
        return torchvision.__version__

    return _imported("torchvision", works)


def _imported(library: str, works: Callable[[], str]) -> MachineCheck:
    try:
        return MachineCheck(library, works())
    # A broken installation of a library raises anything.
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        return MachineCheck(library, reason, "pip install --force-reinstall torch torchvision, both from one index")


def _devices() -> Iterator[MachineCheck]:
    import torch

    for number in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(number)
        memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        yield MachineCheck(f"GPU {number}", f"{torch.cuda.get_device_name(number)}, {memory}")
    if torch.backends.mps.is_available():
        yield MachineCheck("GPU", "Apple GPU (MPS)")
    elif not torch.cuda.device_count():
        # The driver's device exists: there is a GPU, but torch does not see it.
        hidden = Path("/dev/nvidiactl").exists() and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
        advice = "run nvidia-smi, then install torch with CUDA for that driver: https://pytorch.org/get-started/locally"
        yield MachineCheck("GPU", "none: training on the CPU", advice if hidden else "")


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _disk(root: Path) -> MachineCheck:
    there = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{root}, {free / 1e9:.0f} GB free"
    if not os.access(there, os.W_OK):
        return MachineCheck("workspace", f"{found}, not writable", "choose another folder with --workspace")
    advice = "free some space, or choose another folder with --workspace"
    return MachineCheck("workspace", found, advice if free < MIN_FREE_BYTES else "")


def _database(workspace: Workspace) -> MachineCheck:
    if workspace.storage is None and not (workspace.root / "studies.db").exists():
        return MachineCheck("database", "none yet: the first study creates it in the workspace")
    try:
        probe(workspace.studies_url)
    except StorageError as error:
        return MachineCheck("database", str(error), "start it, or give another with --storage or FROSTLINE_STORAGE")
    return MachineCheck("database", safe_url(workspace.studies_url))


def _mlflow(workspace: Workspace, uri: str | None) -> MachineCheck:
    if uri is None and not (workspace.root / "mlflow.db").exists():
        return MachineCheck("MLflow", f"{version('mlflow')}; the first study creates its database in the workspace")
    if uri is not None and (unusable := uri_fault(uri)):
        return MachineCheck("MLflow", unusable, "give another with --tracking-uri")
    # Importing MLflow takes seconds.
    from ...storage.tracking import probe as probe_mlflow
    from ...storage.tracking import schema_fault

    url = uri or workspace.tracking_url
    try:
        if fault := schema_fault(url):
            return MachineCheck("MLflow", fault.what, fault.remedy)
        probe_mlflow(url)
    except StorageError as error:
        return MachineCheck("MLflow", str(error), "start it, or give another with --tracking-uri")
    return MachineCheck("MLflow", f"{version('mlflow')}, {safe_url(url)}")
