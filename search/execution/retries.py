"""Retries of trainings after unexpected errors, such as an unreadable file or a driver's hiccup."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import optuna
import torch

from ...objectives.devices import free_memory, is_device_lost
from ...objectives.errors import DeviceLostError, ObjectiveError
from ...storage.errors import StorageError, machine_fault
from ...storage.tracking import TrackedRun
from ..study import Observer
from ..tracking import log_traceback
from .internal_errors import internal_reason

Trained = TypeVar("Trained")


def is_unexpected(error: Exception) -> bool:
    """Return whether a retry may succeed after an error.

    Invalid, diverging and too large trainings fail every time; errors of databases are handled elsewhere.

    Examples:
        >>> from frostline.objectives.errors import TrainingFailedError
        >>> from frostline.search.execution.retries import is_unexpected
        >>> is_unexpected(OSError("stale file handle")), is_unexpected(TrainingFailedError("it diverged"))
        (True, False)
    """
    return not isinstance(error, ObjectiveError | StorageError | optuna.TrialPruned)


def run_with_retries(
    train: Callable[[], Trained], retries: int, on_failure: Callable[[Exception], None], device: torch.device
) -> Trained:
    """Return the result of a training, retried after unexpected errors; the last error is raised.

    Args:
        train: Function that trains from the last checkpoint.
        retries: Maximum number of retries.
        on_failure: Function called with each error that leads to a retry.
        device: Device of the training.

    Raises:
        DeviceLostError: Only another process can retry.
    """
    while True:
        try:
            return train()
        # Networks and plugins of the user, data, drivers: a training may raise anything.
        except Exception as error:
            if retries <= 0 or not is_unexpected(error):
                raise
            on_failure(error)
            require_device(error, device)
        # Here the error is released, with the memory that its traceback held.
        free_memory(device)
        retries -= 1


def require_device(error: Exception, device: torch.device) -> None:
    """Check that an error did not cost this process its device.

    Raises:
        DeviceLostError: The device refuses further work of this process.
    """
    if is_device_lost(error, device):
        raise DeviceLostError(
            f"The device refuses further work of this process ({str(error).strip().splitlines()[0]}). A new "
            "process can use it: run frostline resume."
        ) from error


def require_disk(error: Exception) -> None:
    """Check that an error is not of this machine's disk, permissions or limits, which other trainings would meet too.

    Raises:
        StorageError: It is; the message says which.
    """
    if isinstance(error, OSError) and (fault := machine_fault(error)):
        raise StorageError(f"{fault} Set that right, then type: frostline resume") from error


def note_retry(observer: Observer, run: TrackedRun, what: str, error: Exception) -> None:
    """Report the retry of a training, and log the traceback to its MLflow run."""
    observer.note(f"{what} failed ({reason(error)}) and is retried")
    log_traceback(run, error)


def reason(error: Exception) -> str:
    """Return the reason of a failure in one line."""
    if internal := internal_reason(error):
        return internal
    lines = str(error).strip().splitlines()
    return lines[0] if isinstance(error, ObjectiveError) else f"{type(error).__name__}: {lines[0] if lines else ''}"
