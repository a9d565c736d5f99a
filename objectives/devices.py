"""Devices (CUDA, MPS, CPU): their choice, their memory, and recovery from running out of it."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import psutil
import torch

from .errors import InvalidInputError
from .heap import give_back
from .precision import BFLOAT16, FLOAT32

Made = TypeVar("Made")

DEVICES = ("auto", "cpu", "cuda", "mps")
# Messages of allocators without an exception class of their own: MPS's, the CPU's, cuBLAS's, oneDNN's.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "alloc_failed", "could not create a primitive")


def choose_device(name: str = "auto") -> torch.device:
    """The device for a name such as ``auto`` (CUDA, then MPS, then CPU), ``cpu`` or ``cuda:1``.

    Raises:
        InvalidInputError: The device is unknown, or this machine does not have it.

    Example:
        >>> from frostline.objectives.devices import choose_device
        >>> choose_device("cpu")
        device(type='cpu')
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


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed the generators that a training on a device draws from.

    Args:
        seed: Seed of all of them.
        device: Device of the training.
    """
    if device.type == "cpu":
        # torch.manual_seed also seeds the devices that nobody uses: it formats the stack for CUDA each time.
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context of automatic mixed precision.

    Args:
        device: Device of the tensors.
        precision: ``bfloat16``, or ``float32`` for no mixed precision.
    """
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == BFLOAT16)


def usual_precision(device: torch.device) -> str:
    """Precision that needs no measurement: bfloat16 on CUDA, where it is fast; float32 elsewhere."""
    return BFLOAT16 if device.type == "cuda" else FLOAT32


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device computes in bfloat16 with instructions of its own, which it needs to gain by it."""
    if device.type == "cpu":
        # oneDNN's answer: AVX-512 with or without AMX, or Arm's. PyTorch is built without oneDNN on some systems.
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return False


def feature_budget(device: torch.device) -> int:
    """Bytes that cached features may take: a quarter of the device's free memory."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return psutil.virtual_memory().free // 4


def free_memory(device: torch.device) -> None:
    """Release the memory of a finished trial, to the system too."""
    gc.collect()
    give_back()
    if device.type != "cpu":
        torch.get_device_module(device).empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the device or the machine ran out of memory.

    >>> from frostline.objectives.devices import is_out_of_memory
    >>> is_out_of_memory(RuntimeError("CUDA error: out of memory")), is_out_of_memory(ValueError("wrong shape"))
    (True, False)
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _OUT_OF_MEMORY)


def is_device_lost(error: Exception, device: torch.device) -> bool:
    """Whether the device refuses all further work of this process after an error.

    CUDA does so after a failed assertion in a kernel or an illegal address, until the process ends (CUDA Runtime API,
    "cudaErrorAssert"); after other errors it does not.
    """
    return isinstance(error, torch.AcceleratorError) and not _works(device)


def _works(device: torch.device) -> bool:
    try:
        torch.get_device_module(device).synchronize()
    except RuntimeError:
        return False
    return True


def within_memory(work: Callable[[int], Made], device: torch.device) -> Made:
    """Run a computation on whole batches; if it runs out of memory, run it once more on batches in two pieces.

    Args:
        work: The computation; called with 1, and with 2 after it ran out of memory. Its memory is released in between.
        device: Device on which it runs.

    Returns:
        The result of ``work``.
    """
    try:
        return work(1)
    # Each allocator has an error class of its own; what is not about memory is raised again.
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Outside the except block: the error is gone, and with it the tensors that its traceback held.
    free_memory(device)
    return work(2)


class DeviceClock:
    """Measures how much of a device this process uses, from its creation on.

    Args:
        device: Device on which the process works.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._began = time.perf_counter(), time.process_time()

    def share(self) -> float:
        """Mean number of busy processors on a CPU; 1 for other devices, which a training holds."""
        if self._device.type != "cpu":
            return 1.0
        wall, busy = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
        return busy / max(wall, 1e-9)


class PeakMemory:
    """Peak memory of one trial, in bytes: CUDA's allocator's, else the process's resident size as sampled.

    Args:
        device: Device on which the trial runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._peak = 0
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        self.sample()

    def sample(self) -> None:
        """Take a sample of the resident size; CUDA counts by itself."""
        if self._device.type != "cuda":
            self._peak = max(self._peak, resident_bytes())

    @property
    def bytes(self) -> int:
        """The peak so far, bytes."""
        if self._device.type == "cuda":
            return torch.cuda.max_memory_allocated(self._device)
        return self._peak


def resident_bytes() -> int:
    """Resident memory of this process, in bytes."""
    return _process(os.getpid()).memory_info().rss


@lru_cache(maxsize=1)
def _process(pid: int) -> psutil.Process:
    return psutil.Process(pid)
