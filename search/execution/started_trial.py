"""A trial that a worker has started: its training and its reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial

from ...objectives.config import flatten, without_effect
from ...objectives.epochs import EpochResult
from ...objectives.errors import TrainingFailedError
from ...objectives.finetune import FinetuneResult
from ...objectives.strategies import PlannedTrial, get_strategy, takes_parameter
from ...storage.database import Lease
from ..study import STARTED
from ..tracking import start_trial_run, trial_key
from .batches import AskedTrial
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
        reported: Epochs that were reported; an interrupted trial has reported its first epochs already.
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

    def on_epoch(self, result: EpochResult) -> None:
        """Log and report an epoch; after all but the last, prune, and stop if the budget is spent."""
        observer, trial, progress = self.session.observer, self.trial, self.progress
        if not self.log.seen and result.epoch > 0:
            observer.note(f"trial {trial.number} resumed from epoch {result.epoch}")
        if result.micro_batch and not progress.micro_batch:
            observer.note(
                f"trial {trial.number} ran out of memory and continues with micro-batches of {result.micro_batch}"
            )
        progress.micro_batch = result.micro_batch
        progress.seconds += result.seconds
        self.log.epoch(result)
        observer.epoch_finished(trial.number, result)
        self.session.device_time.spend(trial)
        if result.epoch not in progress.reported:
            trial.report(result.score, result.epoch)
            progress.reported.add(result.epoch)
        if result.epoch + 1 < self.planned.epochs:
            if trial.should_prune():
                raise optuna.TrialPruned
            self.session.device_time.require(trial)

    def train(self) -> FinetuneResult:
        """Train from the last checkpoint, with the retries that are left.

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
            return logged_training(
                self.log,
                self.planned.config,
                self.session.task,
                seed=self.session.study.settings.seed,
                checkpoints=self.checkpoints,
                retries=self.session.retries - self.progress.retries,
                on_epoch=self.on_epoch,
                on_retry=self.retried,
            )
        finally:
            self.session.device_time.spend(self.trial)

    def retried(self, error: Exception) -> None:
        """Record a retry, so that later workers know it."""
        self.progress.retries += 1
        self.log.retried(error)
        self.trial.set_user_attr(RETRIES, self.progress.retries)
        self.session.worker.write(self.lease)


def start_trial(session: WorkerSession, asked: AskedTrial) -> StartedTrial:
    """Record the start of a trial in the study and in MLflow.

    Raises:
        LeaseLostError: Another worker has the trial now.
    """
    trial, planned, observer = asked.trial, asked.planned, session.observer
    number, lease = trial.number, session.worker.lease(trial)
    if lease.token > 1:
        observer.note(f"trial {number} was interrupted and resumes")
    active = active_parameters(planned)
    trial.set_user_attr(STARTED, {"config": active, "epochs": planned.epochs})
    run = start_trial_run(session.tracker, number, active, session.study.settings.backbone)
    observer.trial_started(number, asked.strategy, planned.epochs)
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
