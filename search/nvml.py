"""GPUs as their driver's library (NVML) tells of them: without a CUDA context, so looking takes no GPU memory."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


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
        OSError: There is none, or it does not start.
    """

    def __init__(self) -> None:
        if os.name != "posix":
            raise OSError("only known by its name on Linux")
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        if self._library.nvmlInit_v2() != 0:
            raise OSError("NVML does not start")

    def handle(self, uuid: str) -> ctypes.c_void_p | None:
        """The GPU of a UUID such as ``GPU-...``."""
        handle = ctypes.c_void_p()
        found = self._library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) == 0
        return handle if found else None

    def busy(self, handle: ctypes.c_void_p) -> float | None:
        """See :class:`GpuUse`."""
        used = _Utilization()
        told = self._library.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(used)) == 0
        return used.gpu / 100 if told else None

    def uses(self) -> list[GpuUse]:
        """Of all GPUs of this machine."""
        count = ctypes.c_uint()
        if self._library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return []
        uses = []
        for place in range(count.value):
            handle, memory = ctypes.c_void_p(), _Memory()
            if self._library.nvmlDeviceGetHandleByIndex_v2(place, ctypes.byref(handle)) != 0:
                continue
            if self._library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)) == 0:
                uses.append(GpuUse(self.busy(handle), memory.used, memory.total))
        return uses


def open_nvml() -> Nvml | None:
    """The driver's library; None where there is no such driver."""
    try:
        return Nvml()
    except (OSError, AttributeError):
        return None
