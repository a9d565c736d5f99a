"""A trial that a worker has started: its training and its reports."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.trial import Trial

from ...objectives.config import flatten, without_effect
from ...objectives.epochs import EpochResult, OnEpoch
from ...objectives.errors import TrainingFailedError
from ...objectives.finetune import FinetuneResult, Task
from ...objectives.strategies import PlannedTrial, get_strategy, takes_parameter
from ...storage.database import Lease
from ..records import BATCH, mean_score
from ..study import FOLDS, STARTED, read_folds
from ..tracking import log_certificate, start_trial_run, trial_key
from .batches import AskedTrial
from .fold_results import FoldsResult, as_epoch, record_fold
from .logged_training import TrainingLog, logged_training
from .session import SessionCheckpoints, WorkerSession

# A trial fails after this many interruptions in a row without progress.
MAX_INTERRUPTIONS = 2
# User attribute with the number of a trial's retries.
RETRIES = "frostline:retries"


def active_parameters(planned: PlannedTrial) -> dict[str, Any]:
    """Return the parameters that have an effect in a trial's training, by dotted name."""
    config = planned.config
    strategy = get_strategy(config.strategy)
    values = {name: value for name, value in flatten(config).items() if takes_parameter(strategy, name)}
    values["freeze_depth"] = planned.phases[-1].freeze_depth
    absent = without_effect(config)
    return {name: value for name, value in values.items() if value is not None and name not in absent}


def retries_of(trial: Trial) -> int:
    """Return how often a trial was retried, by all workers."""
    return int(trial.user_attrs.get(RETRIES, 0))


@dataclass
class Progress:
    """What this worker has seen of a trial's training so far.

    Attributes:
        reported: Epochs, or folds, that were reported; an interrupted trial has reported its first ones already.
        retries: Number of retries, by all workers.
        seconds: Seconds of the epochs of this worker.
        micro_batch: Size of the pieces in which batches are computed; None for whole batches.
    """

    reported: set[int]
    retries: int
    seconds: float = 0.0
    micro_batch: int | None = None


@dataclass(frozen=True)
class StartedTrial:
    """A trial whose start is recorded in the study and in MLflow.

    Attributes:
        session: Session of the process.
        trial: Optuna trial.
        planned: Its configuration, and the phases of it.
        lease: Claim of this worker on it.
        checkpoints: Checkpoints of the training.
        log: Log of the training, in its MLflow run.
        progress: What this worker has seen of the training.
    """

    session: WorkerSession
    trial: Trial
    planned: PlannedTrial
    lease: Lease
    checkpoints: SessionCheckpoints
    log: TrainingLog
    progress: Progress

    @property
    def steps(self) -> int:
        """Return how many reports the trial may have: one for each epoch, or for each fold."""
        return len(self.session.folds) or self.planned.epochs

    def on_epoch(self, result: EpochResult) -> None:
        """Log and report an epoch; after all but the last, prune, and stop if the budget is spent."""
        trial = self.trial
        if not self.log.seen and result.epoch > 0:
            self.session.observer.note(f"trial {trial.number} resumed from epoch {result.epoch}")
        self._count(result)
        self.log.epoch(result)
        self.session.observer.epoch_finished(trial.number, result)
        self._report(result.epoch, result.score)
        if result.epoch + 1 < self.planned.epochs:
            self._require_promising()

    def _count(self, result: EpochResult) -> None:
        """Count the seconds of an epoch."""
        observer, trial, progress = self.session.observer, self.trial, self.progress
        if result.micro_batch and not progress.micro_batch:
            observer.note(
                f"trial {trial.number} ran out of memory and continues with micro-batches of {result.micro_batch}"
            )
        progress.micro_batch = result.micro_batch
        progress.seconds += result.seconds
        self.session.device_time.spend(trial)

    def _report(self, step: int, score: float) -> None:
        """Report a score, unless an earlier worker has."""
        if step not in self.progress.reported:
            self.trial.report(score, step)
            self.progress.reported.add(step)

    def _require_promising(self) -> None:
        """End a trial that trails, or whose budget is spent."""
        if self.trial.should_prune():
            raise optuna.TrialPruned
        self.session.device_time.require(self.trial)

    def train(self) -> FinetuneResult | FoldsResult:
        """Train from the last checkpoint, with the retries that are left; with folds, on each in turn.

        Raises:
            TrainingFailedError: The trial crashed too many workers.
            BudgetSpentError: The budget is spent.
            Exception: What ended the last attempt; see :func:`logged_training`.
        """
        self.session.worker.write(self.lease)
        require_survivable(self.lease)
        self.session.device_time.begin()
        # One that was interrupted when the budget was spent ends with what it has.
        self.session.device_time.require(self.trial)
        try:
            return self._train_folds() if self.session.folds else self._train_on(self.session.task, self.on_epoch)
        finally:
            self.session.device_time.spend(self.trial)

    def _train_on(self, task: Task, on_epoch: OnEpoch) -> FinetuneResult:
        return logged_training(
            self.log,
            self.planned.config,
            task,
            seed=self.session.study.settings.seed,
            checkpoints=self.checkpoints,
            retries=self.session.retries - self.progress.retries,
            on_epoch=on_epoch,
            on_retry=self.retried,
        )

    def _train_folds(self) -> FoldsResult:
        """Train on the folds that are left, with one seed; see :mod:`.fold_results`.

        A fold that has ended is in the database. The checkpoints are those of the fold in progress: of another fold,
        they are of another training, which does not resume from them.
        """
        every, trial, observer = self.session.folds, self.trial, self.session.observer
        folds = list(read_folds(trial.user_attrs))
        if 0 < len(folds) < len(every):
            observer.note(f"trial {trial.number} resumed from fold {len(folds) + 1}")
        for place in range(len(folds), len(every)):
            if folds:
                # A worker may have been killed between a report and this.
                self._report(place - 1, mean_score(folds))
                self._require_promising()
            result = self._train_on(every[place], self._on_epoch_of_fold)
            log_certificate(self.log.run, result, f"certificate_fold_{place + 1}")
            folds.append(record_fold(result))
            trial.set_user_attr(FOLDS, [asdict(fold) for fold in folds])
            self._report(place, mean_score(folds))
            self.session.worker.write(self.lease)
            self.log.fold(place, folds)
            observer.epoch_finished(trial.number, as_epoch(result, place, mean_score(folds)))
        return FoldsResult(tuple(folds))

    def _on_epoch_of_fold(self, result: EpochResult) -> None:
        """Count an epoch; after all but the last, stop if the budget is spent."""
        self._count(result)
        if result.epoch + 1 < self.planned.epochs:
            self.session.device_time.require(self.trial)

    def retried(self, error: Exception) -> None:
        """Record a retry, so that later workers know it."""
        self.progress.retries += 1
        self.log.retried(error)
        self.trial.set_user_attr(RETRIES, self.progress.retries)
        self.session.worker.write(self.lease)


def start_trial(session: WorkerSession, asked: AskedTrial, batch: int | None = None) -> StartedTrial:
    """Record the start of a trial in the study and in MLflow.

    Args:
        session: Session of the process.
        asked: The trial.
        batch: Number of the first of the trials that train together; None for a trial that trains alone. One that is
            interrupted trains alone and keeps its batch.

    Raises:
        LeaseLostError: Another worker has the trial now.
    """
    trial, planned, observer = asked.trial, asked.planned, session.observer
    number, lease = trial.number, session.worker.lease(trial)
    if lease.token > 1:
        observer.note(f"trial {number} was interrupted and resumes")
    active = active_parameters(planned)
    steps = len(session.folds) or planned.epochs
    trial.set_user_attr(STARTED, {"config": active, "epochs": steps})
    if batch is not None:
        trial.set_user_attr(BATCH, batch)
    run = start_trial_run(session.tracker, number, active, session.study.settings.backbone)
    observer.trial_started(number, asked.strategy, steps)
    return StartedTrial(
        session,
        trial,
        planned,
        lease,
        session.checkpoints(trial_key(number), lease),
        TrainingLog(run, observer, f"trial {number}"),
        Progress(session.worker.reported(trial), retries_of(trial)),
    )


def require_survivable(lease: Lease) -> None:
    """Fail a training that seems to crash its workers, instead of passing it on forever.

    Raises:
        TrainingFailedError: It crashed too many workers.
    """
    if lease.lapses >= MAX_INTERRUPTIONS:
        raise TrainingFailedError(
            f"This training crashed {lease.lapses} workers in a row, or cost them their device, before another epoch "
            "ended; it may need more memory than there is."
        )
