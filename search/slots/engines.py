"""Engines: where slots run and how they are started."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from ...objectives.errors import InvalidInputError, unknown_name
from ...objectives.sizes import parse_size
from ...storage.workspace import Workspace
from ..limits import number_faults
from ..slots import ray_cluster
from .process import RunningSlot, SlotProcess, SlotSpec
from .resources import Resources


class Engine(ABC):
    """Runs the slots of a study somewhere.

    Args:
        resources: Resources of the study.

    Attributes:
        in_process: Whether a single slot may run in the calling process.
    """

    in_process: ClassVar[bool] = False

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    @abstractmethod
    def check(self, workspace: Workspace) -> None:
        """Check whether this engine can provide the resources to a study of a workspace.

        Raises:
            InvalidInputError: It cannot; the message says why.
        """

    @property
    @abstractmethod
    def device_type(self) -> str:
        """Type of the devices that slots train on: ``cuda``, ``cpu`` or ``mps``."""

    @abstractmethod
    def places(self) -> list[SlotSpec]:
        """The places of the slots, one per slot."""

    @abstractmethod
    def share(self, slots: int) -> int | None:
        """Feature cache size of each slot, bytes; None for a share of its device's free memory.

        Args:
            slots: Number of slots.
        """

    def start(
        self, program: str, place: SlotSpec, work: str, log: Path, hear: Callable[[str | None], None]
    ) -> RunningSlot:
        """Start a slot.

        Args:
            program: Module of the slot.
            place: Place of the slot.
            work: Work of the slot, one line of JSON.
            log: File for printed output that is not a message.
            hear: Called from a thread with each line, and with None after the slot has ended.
        """
        return SlotProcess((*place.launcher, program), work, place.environment, log, hear)


class LocalEngine(Engine):
    """Runs slots as processes of this machine: one per GPU, or one on the CPU.

    The methods import torch when they are called, so that importing this module to check a request is fast.
    """

    in_process = True

    def check(self, workspace: Workspace) -> None:
        from ...objectives.devices import choose_device

        address = self.resources.address
        if address is not None:
            raise InvalidInputError(f"--address {address} is of a Ray cluster: add --engine ray, or leave it out.")
        choose_device(self.resources.device)

    @property
    def device_type(self) -> str:
        from ...objectives.devices import choose_device

        return choose_device(self.resources.device).type

    def places(self) -> list[SlotSpec]:
        wanted = self.resources
        gpus = _visible_gpus() if wanted.device in ("auto", "cuda") else []
        if gpus:
            count = wanted.workers or len(gpus) * wanted.slots_per_gpu
            return [SlotSpec("cuda", {"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]}, 0) for slot in range(count)]
        count = wanted.workers or 1
        threads = max(1, (os.cpu_count() or 1) // count)
        # Also an environment variable: libraries create their thread pools when they are imported.
        return [SlotSpec(wanted.device, {"OMP_NUM_THREADS": str(threads)}, threads) for _ in range(count)]

    def share(self, slots: int) -> int | None:
        from ...objectives.devices import choose_device, feature_budget

        size = parse_size(self.resources.cache_budget)
        if size is None:
            device = choose_device(self.resources.device)
            if device.type == "cuda":
                return None
            size = feature_budget(device)
        return size // slots


class RayEngine(Engine):
    """Runs slots on the nodes of a Ray cluster."""

    @cached_property
    def _cluster(self) -> ray_cluster.Cluster:
        return ray_cluster.survey(self.resources.address)

    def check(self, workspace: Workspace) -> None:
        ray_cluster.check(self._cluster, self.resources, workspace)

    @property
    def device_type(self) -> str:
        return "cuda" if ray_cluster.on_gpus(self._cluster, self.resources) else "cpu"

    def places(self) -> list[SlotSpec]:
        return ray_cluster.places(self._cluster, self.resources)

    def share(self, slots: int) -> int | None:
        return ray_cluster.share(self._cluster, self.resources)


# To add an engine, add its class here.
ENGINES: dict[str, type[Engine]] = {"local": LocalEngine, "ray": RayEngine}


def create_engine(resources: Resources) -> Engine:
    """Create the engine named by the resources.

    Raises:
        InvalidInputError: No engine has this name.
    """
    if resources.engine not in ENGINES:
        raise InvalidInputError(unknown_name("engine", resources.engine, ENGINES))
    return ENGINES[resources.engine](resources)


def check_resources(resources: Resources, workspace: Workspace) -> None:
    """Check whether a study of a workspace can use these resources.

    Raises:
        InvalidInputError: It cannot; the message says why.
    """
    counts = {"--workers": resources.workers, "--slots-per-gpu": resources.slots_per_gpu}
    if faults := number_faults({**counts, "--retries": resources.retries}):
        raise InvalidInputError(faults)
    create_engine(resources).check(workspace)


def _visible_gpus() -> list[str]:
    """Names of the GPUs visible to this process, in the notation of ``CUDA_VISIBLE_DEVICES``."""
    import torch

    if not torch.cuda.is_available():
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return [name for name in named.split(",") if name] or [str(gpu) for gpu in range(torch.cuda.device_count())]
