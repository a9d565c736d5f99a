"""Trainings tried again when something unexpected ends them: a file that cannot be read just now, a driver's hiccup."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import optuna
import torch

from ...objectives.devices import free_memory, is_device_lost
from ...objectives.errors import DeviceLostError, ObjectiveError
from ...storage.errors import StorageError
from ...storage.tracking.tracker import TrackedRun
from ..study.observer import Observer
from ..tracking.training_runs import log_traceback

Trained = TypeVar("Trained")


def is_unexpected(error: Exception) -> bool:
    """Whether an error may not come again.

    What cannot be trained, diverges or needs too much memory does so every time; of databases others take care.
    """
    return not isinstance(error, ObjectiveError | StorageError | optuna.TrialPruned)


def attempt(
    train: Callable[[], Trained], retries: int, on_failure: Callable[[Exception], None], device: torch.device
) -> Trained:
    """What a training gives, tried again so many times after unexpected errors; the last one is raised.

    Args:
        train: Goes on from its last checkpoint.
        retries: How often it may be begun again.
        on_failure: Told each error after which it is.
        device: Where it trains.

    Raises:
        DeviceLostError: It may be begun again, but not by this process.
    """
    while True:
        try:
            return train()
        except Exception as error:
            if retries <= 0 or not is_unexpected(error):
                raise
            on_failure(error)
            require_device(error, device)
        # Here the error is gone, and with it what its traceback held.
        free_memory(device)
        retries -= 1


def require_device(error: Exception, device: torch.device) -> None:
    """Let the process end after an error that took its device away.

    Raises:
        DeviceLostError: It was such an error.
    """
    if is_device_lost(error, device):
        raise DeviceLostError(
            f"The device refuses further work of this process ({str(error).strip().splitlines()[0]}). A new "
            "process can use it: run frostline resume."
        ) from error


def note_retry(observer: Observer, run: TrackedRun, what: str, error: Exception) -> None:
    """Tell that a training is tried again, and keep the traceback in its MLflow run."""
    observer.note(f"{what} failed ({reason(error)}) and is retried")
    log_traceback(run, error)


def reason(error: Exception) -> str:
    """Of a failure, in a line."""
    lines = str(error).strip().splitlines()
    return lines[0] if isinstance(error, ObjectiveError) else f"{type(error).__name__}: {lines[0] if lines else ''}"
