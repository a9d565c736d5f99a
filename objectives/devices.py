"""Where training runs, and how much memory it takes there."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import torch

from .errors import InvalidInputError

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """The device of a name such as ``auto`` (CUDA, then MPS, then CPU), ``cpu`` or ``cuda:1``.

    Raises:
        InvalidInputError: An unknown device, or one that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name.split(":")[0] not in DEVICES:
        raise InvalidInputError(f"Unknown device {name!r}. Valid: {', '.join(DEVICES)}, or cuda:N.")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InvalidInputError(
            f"Device {name!r} cannot be used here ({str(error).splitlines()[0]}). Use --device auto."
        ) from None
    return device


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where it is fast (CUDA), full precision elsewhere."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def feature_budget(device: torch.device) -> int:
    """Bytes that features may take: a quarter of the memory that is free where they lie."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 2**19
    return pages * os.sysconf("SC_PAGE_SIZE") // 4


def free_memory(device: torch.device) -> None:
    """Give back what a finished trial held."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


class PeakMemory:
    """Peak memory of one trial: the allocator's on CUDA, else the process's resident size as sampled.

    Args:
        device: Where the trial runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.sample()

    def sample(self) -> None:
        if self._device.type != "cuda":
            self._peak = max(self._peak, resident_bytes())

    @property
    def bytes(self) -> int:
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return self._peak


def resident_bytes() -> int:
    """Memory that this process has, in bytes."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
