"""A training that is logged in its MLflow run: its epochs, its retries, and what was frozen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ...objectives.config import TrialConfig
from ...objectives.epochs import EpochResult, OnEpoch
from ...objectives.finetune import FinetuneResult, Task, finetune
from ...storage.tracking import TrackedRun
from ..records import FoldRecord
from ..study import Observer
from ..tracking import epoch_metrics, fold_metrics, log_certificate, log_unseen
from .retries import note_retry, run_with_retries
from .session import SessionCheckpoints


class TrainingLog:
    """What a training logs in its run.

    Args:
        run: The run of the training.
        observer: Told of retries.
        name: Name of the training in notes, such as ``trial 7``.

    Attributes:
        run: The run of the training.
        seen: Epochs that were logged.
    """

    def __init__(self, run: TrackedRun, observer: Observer, name: str) -> None:
        self.run = run
        self.seen: list[int] = []
        self._observer = observer
        self._name = name

    def epoch(self, result: EpochResult) -> None:
        """Log an epoch."""
        self.seen.append(result.epoch)
        self.run.log_step(result.epoch, epoch_metrics(result))

    def fold(self, place: int, folds: Sequence[FoldRecord]) -> None:
        """Log a fold, of which the run has one step, as a study without folds has of an epoch.

        Args:
            place: Number of the fold, from 0.
            folds: What it and the folds before it came to.
        """
        self.seen.append(place)
        self.run.log_step(place, fold_metrics(place, folds))

    def finished_folds(self, folds: Sequence[FoldRecord]) -> None:
        """Log the folds of earlier workers, whose records may be lost."""
        for place in set(range(len(folds))) - set(self.seen):
            self.fold(place, folds)

    def retried(self, error: Exception) -> None:
        """Note that the training is tried again, and log why."""
        note_retry(self._observer, self.run, self._name, error)

    def finished(self, result: FinetuneResult) -> None:
        """Log the epochs of earlier workers, and what each phase froze and trained."""
        log_unseen(self.run, result, self.seen)
        self.seen = [epoch.epoch for epoch in result.epochs]
        log_certificate(self.run, result)


def logged_training(
    log: TrainingLog,
    config: TrialConfig,
    task: Task,
    *,
    seed: int,
    checkpoints: SessionCheckpoints,
    retries: int,
    on_epoch: OnEpoch | None = None,
    on_retry: Callable[[Exception], None] | None = None,
) -> FinetuneResult:
    """Train a configuration from its last checkpoint, with retries; its epochs and retries are logged.

    The caller calls :meth:`TrainingLog.finished` once it has recorded the result.

    Args:
        log: Log of the training.
        config: Configuration to train.
        task: What the trainings of a study share.
        seed: Seed of the training.
        checkpoints: Checkpoints of the training.
        retries: Number of retries after unexpected errors.
        on_epoch: Called after each epoch instead of :meth:`TrainingLog.epoch`, which it calls itself.
        on_retry: Called before each retry instead of :meth:`TrainingLog.retried`, which it calls itself.

    Raises:
        DeviceLostError: This process has lost its device.
        Exception: What ended the last attempt.
    """
    train = partial(finetune, config, task, seed=seed, on_epoch=on_epoch or log.epoch, checkpoints=checkpoints)
    return run_with_retries(train, retries, on_retry or log.retried, task.device)
