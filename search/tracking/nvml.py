"""GPU utilization and memory from the driver's library (NVML), which needs no CUDA context and no GPU memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class GpuUse:
    """The present use of a GPU.

    Attributes:
        busy: Recent utilization, in [0, 1]; None if the GPU does not report it.
        used_bytes: Used memory in bytes.
        total_bytes: Total memory in bytes.
    """

    busy: float | None
    used_bytes: int
    total_bytes: int


class Nvml:
    """A connection to the driver's library.

    Raises:
        pynvml.NVMLError: The library is missing or does not start.
    """

    def __init__(self) -> None:
        pynvml.nvmlInit()

    def handle(self, uuid: str) -> Any:
        """Return the GPU with a UUID such as ``GPU-...``; None if there is none."""
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError:
            return None

    def busy(self, handle: Any) -> float | None:
        """Return the recent utilization of a GPU, in [0, 1]; None if the GPU does not report it."""
        try:
            return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except pynvml.NVMLError:
            return None

    def uses(self) -> list[GpuUse]:
        """Return the use of all GPUs of this machine that report it."""
        try:
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError:
            return []
        return [use for use in map(self._use, range(count)) if use is not None]

    def _use(self, index: int) -> GpuUse | None:
        try:
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        except pynvml.NVMLError:
            return None
        return GpuUse(self.busy(handle), int(memory.used), int(memory.total))


def open_nvml() -> Nvml | None:
    """Return a connection to the driver's library; None without a driver."""
    try:
        return Nvml()
    except pynvml.NVMLError:
        return None
