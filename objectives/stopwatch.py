"""Seconds of short work on a device, measured so that other processes disturb them little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

# The shortest of so many runs counts: other processes make single ones many times as long.
RUNS = 3


def shortest(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of the shortest of some runs."""
    return min(seconds_of(work, device) for _ in range(RUNS))


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of some work, to its end on the device."""
    began = time.perf_counter()
    work()
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()
    return time.perf_counter() - began


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch compute with so many threads for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
