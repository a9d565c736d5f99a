"""The current load of this machine in words: its GPUs if there are any, else processors and memory."""

from __future__ import annotations

import time

from ...search.formats import plural
from ...search.tracking import GpuUse, Readings, open_nvml

# Seconds for which a description is reused: more frequent readings tell little.
SECONDS = 2.0


class DeviceUse:
    """The load of this machine since the last description."""

    def __init__(self) -> None:
        self._nvml = open_nvml()
        self._readings = Readings()
        self._described, self._text = 0.0, ""

    def describe(self) -> str:
        """Return ``GPU 87 %, 12.3 of 139.8 GB`` or ``CPU 45 %, memory 61 %``; empty if the system reports neither."""
        now = time.monotonic()
        if now - self._described > SECONDS:
            gpus = self._nvml.uses() if self._nvml is not None else []
            self._described, self._text = now, describe_gpus(gpus) if gpus else describe_machine(self._readings.take())
        return self._text


def describe_gpus(gpus: list[GpuUse]) -> str:
    """Describe all GPUs together: mean utilization and total memory."""
    busy = [gpu.busy for gpu in gpus if gpu.busy is not None]
    name = "GPU" if len(gpus) == 1 else plural(len(gpus), "GPU")
    share = f" {100 * sum(busy) / len(busy):.0f} %," if busy else ""
    used, total = (
        sum(values) / 1e9 for values in zip(*((gpu.used_bytes, gpu.total_bytes) for gpu in gpus), strict=True)
    )
    return f"{name}{share} {used:.1f} of {total:.1f} GB"


def describe_machine(values: dict[str, float]) -> str:
    """Describe the values of :meth:`Readings.take`."""
    shares = {"CPU": "cpu_utilization_percentage", "memory": "system_memory_usage_percentage"}
    known = {name: values.get(f"system/{metric}") for name, metric in shares.items()}
    return ", ".join(f"{name} {value:.0f} %" for name, value in known.items() if value is not None)
