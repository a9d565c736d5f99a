"""GPUs as their driver's library (NVML) tells of them: without a CUDA context, so looking takes no GPU memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pynvml


@dataclass(frozen=True)
class GpuUse:
    """What a GPU does just now.

    Attributes:
        busy: Share of the last moments in which it computed, in [0, 1]; None where it does not tell.
        used_bytes: Of its memory.
        total_bytes: Of its memory.
    """

    busy: float | None
    used_bytes: int
    total_bytes: int


class Nvml:
    """The driver's library.

    Raises:
        pynvml.NVMLError: There is none, or it does not start.
    """

    def __init__(self) -> None:
        pynvml.nvmlInit()

    def handle(self, uuid: str) -> Any:
        """The GPU of a UUID such as ``GPU-...``; None if there is none."""
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(uuid)
        except pynvml.NVMLError:
            return None

    def busy(self, handle: Any) -> float | None:
        """See :class:`GpuUse`."""
        try:
            return float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu) / 100
        except pynvml.NVMLError:
            return None

    def uses(self) -> list[GpuUse]:
        """Of all GPUs of this machine that tell it."""
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
    """The driver's library; None where there is no such driver."""
    try:
        return Nvml()
    except pynvml.NVMLError:
        return None
