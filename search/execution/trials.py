"""The trial loop: ask, train, report and tell until the budget is spent."""

from __future__ import annotations

import time
from typing import Any

import optuna
from optuna.trial import TrialState

from ...objectives.config import TrialConfig, flatten, without_effect
from ...objectives.devices import free_memory, is_device_lost
from ...objectives.epochs import EpochResult
from ...objectives.errors import DeviceLostError, ObjectiveError, TrainingFailedError
from ...objectives.finetune import FinetuneResult
from ...objectives.populations import finetune_together
from ...objectives.strategies import get_strategy, plan_phases, takes_parameter
from ...storage.database import Lease
from ...storage.errors import LeaseLostError, StorageError
from ..records import TrialRecord
from ..study import OUTCOME, STARTED
from ..tracking import (
    describe,
    finish_trial_run,
    log_traceback,
    start_trial_run,
    trial_key,
)
from .batches import AskedTrial, TrialBatches
from .internal_errors import InternalErrors
from .logged_training import TrainingLog, logged_training
from .retries import is_unexpected, reason, require_device
from .session import WorkerSession

Outcome = FinetuneResult | Exception
"""The result of a training, or the error that ended it."""

# A trial fails after this many interruptions in a row without progress.
MAX_INTERRUPTIONS = 2
# User attribute with the number of a trial's retries.
RETRIES = "frostline:retries"


def run_trials(session: WorkerSession) -> None:
    """Run trials until the budget is spent: that many trials are complete, pruned or failed, on all machines."""
    asking, internal = TrialBatches(session.worker), InternalErrors()
    for batch in session.claims(asking.next, session.study.tickets):
        every = [_RunningTrial(session, asked) for asked in batch]
        # Alone, an interrupted trial has checkpoints, and another interruption costs no other trial.
        together = len(every) > 1 and not any(running.lost_before for running in every)
        for running in _run_together(session, every) if together else every:
            _run_alone(session, running)
        for running in every:
            if running.record is not None:
                internal.note(running.record)
        internal.check()
        free_memory(session.task.device)


def active_parameters(config: TrialConfig, units: int) -> dict[str, Any]:
    """Return the parameters that have an effect in a configuration's training, by dotted name.

    Args:
        config: Configuration.
        units: Number of units of the backbone."""
    strategy = get_strategy(config.strategy)
    values = {name: value for name, value in flatten(config).items() if takes_parameter(strategy, name)}
    values["freeze_depth"] = plan_phases(config, units)[-1].freeze_depth
    absent = without_effect(config)
    return {name: value for name, value in values.items() if value is not None and name not in absent}


class _RunningTrial:
    """A running trial, from its start to its end.

    Args:
        session: Session of the process.
        asked: Trial with its configuration.

    Attributes:
        checkpoints: Checkpoints of the training.
        seconds: Seconds of the epochs so far.
    """

    def __init__(self, session: WorkerSession, asked: AskedTrial) -> None:
        self._session = session
        self.trial = asked.trial
        self.strategy = asked.strategy
        self._asked = asked.config
        self._lease = session.worker.lease(asked.trial)
        self.checkpoints = session.checkpoints(trial_key(asked.trial.number), self._lease)
        self.seconds = 0.0
        self._epochs = 0
        self._log: TrainingLog | None = None
        # An interrupted trial has reported its first epochs already.
        self._reported = session.worker.reported(self.trial)
        self.retries = int(asked.trial.user_attrs.get(RETRIES, 0))
        self._micro_batch: int | None = None
        # The result, once it is recorded.
        self.record: TrialRecord | None = None
        self._outcome: dict[str, Any] = {}

    @property
    def config(self) -> TrialConfig:
        """Return the configuration; raise the error of the sampled values."""
        if isinstance(self._asked, Exception):
            raise self._asked
        return self._asked

    @property
    def lost_before(self) -> bool:
        """Return whether an error or the end of a worker interrupted the trial before."""
        return self.retries > 0 or self._lease.lapses > 0

    def begin(self) -> None:
        """Record the start of the trial in the study and in MLflow, once.

        Raises:
            InvalidInputError: The configuration cannot be trained.
            TrainingFailedError: The trial crashed too many workers.
        """
        if self._log is not None:
            return
        observer, number = self._session.observer, self.trial.number
        if self._lease.token > 1:
            observer.note(f"trial {number} was interrupted and resumes")
        units = len(self._session.study.facts.units)
        parameters = active_parameters(self.config, units)
        run = start_trial_run(self._session.tracker, number, parameters, self._session.study.settings.backbone)
        self._log = TrainingLog(run, observer, f"trial {number}")
        self._epochs = sum(phase.epochs for phase in plan_phases(self.config, units))
        self.trial.set_user_attr(STARTED, {"config": parameters, "epochs": self._epochs})
        observer.trial_started(number, self.strategy, self._epochs)
        _require_survivable(self._lease)

    def on_epoch(self, result: EpochResult) -> None:
        """Log and report an epoch, and prune, except after the last epoch."""
        assert self._log is not None
        observer, trial = self._session.observer, self.trial
        if not self._log.seen and result.epoch > 0:
            observer.note(f"trial {trial.number} resumed from epoch {result.epoch}")
        if result.micro_batch and not self._micro_batch:
            observer.note(
                f"trial {trial.number} ran out of memory and continues with micro-batches of {result.micro_batch}"
            )
        self._micro_batch = result.micro_batch
        self.seconds += result.seconds
        self._log.epoch(result)
        observer.epoch_finished(trial.number, result)
        if result.epoch not in self._reported:
            trial.report(result.score, result.epoch)
            self._reported.add(result.epoch)
        if result.epoch + 1 < self._epochs and trial.should_prune():
            raise optuna.TrialPruned

    def train(self) -> FinetuneResult:
        """Train from the last checkpoint, with the retries that are left."""
        assert self._log is not None
        return logged_training(
            self._log,
            self.config,
            self._session.task,
            seed=self._session.study.settings.seed,
            checkpoints=self.checkpoints,
            retries=self._session.retries - self.retries,
            on_epoch=self.on_epoch,
            on_retry=self.retried,
        )

    def retried(self, error: Exception) -> None:
        """Record a retry, so that later workers know it."""
        self.retries += 1
        assert self._log is not None
        self._log.retried(error)
        self.trial.set_user_attr(RETRIES, self.retries)
        self._session.worker.write()

    def _log_traceback(self, error: Exception) -> None:
        if self._log is not None and is_unexpected(error):
            log_traceback(self._log.run, error)

    def tell(self, ended: Outcome) -> None:
        """Record the result in the study.

        Raises:
            LeaseLostError: Another worker has the trial now.
        """
        if isinstance(ended, LeaseLostError):
            raise ended
        outcome: dict[str, Any] = {"seconds": self.seconds}
        if self._micro_batch:
            outcome["micro_batch"] = self._micro_batch
        if self.retries:
            outcome["retries"] = self.retries
        score, state = None, TrialState.FAIL
        if isinstance(ended, FinetuneResult):
            if self._log is not None:
                self._log.finished(ended)
            outcome |= describe(ended)
            score, state = ended.score, TrialState.COMPLETE
        elif isinstance(ended, optuna.TrialPruned):
            state = TrialState.PRUNED
        else:
            outcome["reason"] = reason(ended)
            self._log_traceback(ended)
        self.trial.set_user_attr(OUTCOME, outcome)
        self.record, self._outcome = self._session.worker.tell(self.trial, score, state), outcome

    def close(self) -> None:
        """Finish the MLflow run and call the observer, after the study has the result."""
        assert self.record is not None
        self.checkpoints.remove()
        if self._log is not None:
            backbone = self._session.study.settings.backbone
            finish_trial_run(self._log.run, self.record, backbone, self._outcome, logged=self._log.seen)
        self._session.observer.trial_finished(self.record)


def _run_alone(session: WorkerSession, running: _RunningTrial) -> None:
    """Train a trial from its last checkpoint and record its result.

    Raises:
        DeviceLostError: The device refuses further work of this process.
    """
    outcome = _train_alone(session, running)
    _tell(session, [(running, outcome)])
    if isinstance(outcome, Exception):
        require_device(outcome, session.task.device)


def _train_alone(session: WorkerSession, running: _RunningTrial) -> Outcome:
    """Return the result of a trial; raise errors of the database and the device."""
    started = time.perf_counter()
    try:
        running.begin()
        session.worker.write()
        return running.train()
    except LeaseLostError as error:
        return error
    except (StorageError, DeviceLostError):
        raise
    # A training may raise anything, as in run_with_retries(); InternalErrors tells the bugs of ours.
    except Exception as error:
        running.seconds = time.perf_counter() - started
        return error


def _run_together(session: WorkerSession, every: list[_RunningTrial]) -> list[_RunningTrial]:
    """Train a population and record its results; return the trials to train alone instead.

    Raises:
        DeviceLostError: The device refuses further work of this process.
    """
    begun = [(running, _begin(running)) for running in every]
    session.worker.write()
    able = [running for running, fault in begun if fault is None]
    ended: list[tuple[_RunningTrial, Outcome]] = [(running, fault) for running, fault in begun if fault is not None]
    trained = _train_together(session, able) if able else []
    again: list[_RunningTrial] = able if trained is None else []
    for running, outcome in zip(able, trained or [], strict=trained is not None):
        if isinstance(outcome, StorageError) and not isinstance(outcome, LeaseLostError):
            raise outcome
        if isinstance(outcome, Exception) and is_unexpected(outcome) and session.retries:
            running.retried(outcome)
            again.append(running)
        else:
            ended.append((running, outcome))
    _tell(session, ended)
    return again


def _train_together(session: WorkerSession, every: list[_RunningTrial]) -> list[Outcome] | None:
    """Return the results of trials trained together; None if that fails, for example for lack of memory."""
    try:
        return finetune_together(
            [running.config for running in every],
            session.task,
            seed=session.study.settings.seed,
            on_epochs=[running.on_epoch for running in every],
        )
    except StorageError:
        raise
    # Whatever prevents them from training together, each has another chance alone, where its own errors count.
    except Exception as error:
        if is_device_lost(error, session.task.device):
            # Any of them may be the cause: the next process trains them one at a time.
            for running in every:
                running.retried(error)
            require_device(error, session.task.device)
        why = reason(error)
    free_memory(session.task.device)
    numbers = ", ".join(str(running.trial.number) for running in every)
    session.observer.note(f"trials {numbers} cannot be trained together ({why}) and train one at a time")
    return None


def _begin(running: _RunningTrial) -> Exception | None:
    """Start a trial; return the error if it cannot be trained."""
    try:
        running.begin()
    except ObjectiveError as error:
        return error
    return None


def _tell(session: WorkerSession, ended: list[tuple[_RunningTrial, Outcome]]) -> None:
    """Record the results of trials in one transaction, except of trials that other workers have taken over."""
    lost: set[int] = set()
    try:
        with session.worker.together():
            for running, outcome in ended:
                try:
                    running.tell(outcome)
                except LeaseLostError as error:
                    lost |= error.numbers
    except LeaseLostError as error:
        lost |= error.numbers
    for running, _ in ended:
        if running.trial.number in lost:
            session.observer.note(f"trial {running.trial.number} was taken over by another worker")
            session.observer.trial_cut_off(running.trial.number)
        else:
            running.close()


def _require_survivable(lease: Lease) -> None:
    """Fail a trial that seems to crash its workers, instead of passing it on forever."""
    if lease.lapses >= MAX_INTERRUPTIONS:
        raise TrainingFailedError(
            f"This trial crashed {lease.lapses} workers in a row before another epoch ended; "
            "it may need more memory than there is."
        )
