"""System metrics of trainings: CPU, memory and GPU use, logged to the runs of trials and finals.

MLflow's own sampler would need MLflow in the training process, so this module has its own. The names are MLflow's, so
its pages show them under "System metrics". A training shorter than the interval has none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from ...storage.errors import StorageError
from ...storage.tracking import Tracker
from .nvml import open_nvml

if TYPE_CHECKING:
    import torch

_MB = 1e6


@contextmanager
def sampled(tracker: Tracker, device: torch.device, interval: float) -> Iterator[None]:
    """Sample in a background thread while the context is open.

    Args:
        tracker: Tracker of the study; all its open trainings get the same samples.
        device: Device of the trainings.
        interval: Seconds between samples.
    """
    ended = threading.Event()
    sampler = threading.Thread(target=_sample, args=(tracker, device, interval, ended), daemon=True)
    sampler.start()
    try:
        yield
    finally:
        ended.set()
        sampler.join()


def _sample(tracker: Tracker, device: torch.device, interval: float, ended: threading.Event) -> None:
    readings = Readings(device)
    before: set[str] = set()
    while not ended.wait(interval):
        values = readings.take()
        runs = {key: run for key, run in tracker.unfinished() if key.startswith(("trial-", "final-", "curve-"))}
        for key in runs.keys() & before:
            try:
                # Steps are seconds of the clock, so they keep rising when an interrupted training resumes.
                runs[key].log_step(int(time.time()), values)
            except StorageError:
                # The training writes to the same journal and reports the error.
                return
        before = set(runs)


class Readings:
    """The metrics of the machine since the last reading; values that a GPU does not report are left out.

    Args:
        device: Device of the trainings; None reads no GPU.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self._gpu = _Gpu(device) if device is not None and device.type == "cuda" else None
        self._busy, self._total = _processor_times()
        self._process, self._clock = time.process_time(), time.monotonic()

    def take(self) -> dict[str, float]:
        """Return the metrics by MLflow's names: memory in megabytes, the process's CPU use in percent of one core."""
        values = {
            "process_memory_megabytes": psutil.Process().memory_info().rss / _MB,
            **self._processors(),
            **_memory(),
        }
        if self._gpu is not None:
            values |= self._gpu.take()
        return {f"system/{name}": value for name, value in values.items()}

    def _processors(self) -> dict[str, float]:
        (busy, total), process, clock = _processor_times(), time.process_time(), time.monotonic()
        values = {"process_cpu_percentage": 100 * (process - self._process) / max(clock - self._clock, 1e-9)}
        if total > self._total:
            values["cpu_utilization_percentage"] = 100 * (busy - self._busy) / (total - self._total)
        self._busy, self._total, self._process, self._clock = busy, total, process, clock
        return values


def _processor_times() -> tuple[float, float]:
    """Return the busy and the total time of all the machine's processors, in seconds."""
    # Not psutil.cpu_percent, which counts from the last call of any caller in the same thread.
    times = psutil.cpu_times()
    # Linux includes a guest's time in the user's time.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    return total - times.idle - getattr(times, "iowait", 0.0), total


def _memory() -> dict[str, float]:
    memory = psutil.virtual_memory()
    used = memory.total - memory.available
    share = 100 * used / memory.total
    return {"system_memory_usage_megabytes": used / _MB, "system_memory_usage_percentage": share}


class _Gpu:
    """The memory and, if the driver reports it, the utilization of a GPU."""

    def __init__(self, device: torch.device) -> None:
        # Without a GPU, readings need no torch.
        from torch import cuda

        self._cuda, self._device = cuda, device
        self._name = f"gpu_{device.index or 0}"
        self._nvml = open_nvml()
        uuid = getattr(cuda.get_device_properties(device), "uuid", None)
        self._handle = self._nvml.handle(f"GPU-{uuid}") if self._nvml and uuid else None

    def take(self) -> dict[str, float]:
        free, total = self._cuda.mem_get_info(self._device)
        values = {
            f"{self._name}_memory_usage_megabytes": (total - free) / _MB,
            f"{self._name}_memory_usage_percentage": 100 * (total - free) / total,
        }
        busy = self._nvml.busy(self._handle) if self._nvml and self._handle is not None else None
        return values if busy is None else {**values, f"{self._name}_utilization_percentage": 100 * busy}
