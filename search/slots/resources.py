"""Resources of a study, and the part of them that one process gets."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.sizes import parse_size


@dataclass(frozen=True)
class Resources:
    """Processes, devices and memory that a study may use.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        cache_budget: Size of the feature cache, such as ``4GB``; ``auto``, or ``0`` for none.
        workers: Number of processes that train; None for one a GPU, or one without GPUs.
        slots_per_gpu: Number of processes that share a GPU, where ``workers`` is None.
        engine: Name of the engine: ``local`` for this machine, ``ray`` for a Ray cluster.
        address: Address of the Ray cluster; None for the cluster that runs on this machine.
        retries: Number of retries after an unexpected error ended a training.
    """

    device: str = "auto"
    cache_budget: str = "auto"
    workers: int | None = None
    slots_per_gpu: int = 1
    engine: str = "local"
    address: str | None = None
    retries: int = 1


@dataclass(frozen=True)
class ProcessResources:
    """The resources of one process that trains.

    Attributes:
        device: Device as torch names it, or ``auto``.
        cache_bytes: Size of its feature cache, bytes; None for a share of its device's free memory.
        retries: Number of retries after an unexpected error ended a training.
    """

    device: str
    cache_bytes: int | None
    retries: int

    @classmethod
    def all_of(cls, resources: Resources) -> ProcessResources:
        """All resources, for a process that works alone.

        Raises:
            InvalidInputError: The cache budget is no size.
        """
        return cls(resources.device, parse_size(resources.cache_budget), resources.retries)
