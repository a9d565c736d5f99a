"""The trial loop: ask, train, report and tell until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from ...objectives.devices import free_memory, is_device_lost
from ...objectives.errors import DeviceLostError
from ...objectives.populations import finetune_together
from ...storage.errors import LeaseLostError, StorageError
from ..records import TrialRecord
from .batches import AskedTrial, RefusedTrial, TrialBatches
from .device_time import BudgetSpentError
from .frozen_libraries import REFREEZE_TRIALS, freeze_kept
from .internal_errors import InternalErrors
from .retries import is_unexpected, reason, require_device, require_disk
from .session import WorkerSession
from .started_trial import StartedTrial, retries_of, start_trial
from .trial_outcome import EndedTrial, Result, ended_trial, refused_trial


def run_trials(session: WorkerSession) -> None:
    """Run trials until so many are complete, pruned or failed on all machines, or the budget is spent.

    Raises:
        DeviceLostError: The device refuses further work of this process.
        TrainingFailedError: A bug has failed several trials.
    """
    batches, internal = TrialBatches(session.worker), InternalErrors()
    ended = 0
    for batch in session.claims(batches.next, session.study.search_ended):
        for record in _run_batch(session, batch):
            internal.note(record)
        internal.check()
        free_memory(session.task.device)
        ended += len(batch)
        if ended >= REFREEZE_TRIALS:
            freeze_kept()
            ended = 0


def _run_batch(session: WorkerSession, batch: Sequence[AskedTrial | RefusedTrial]) -> list[TrialRecord]:
    """Run the trials of a batch; return the records of those that ended here."""
    refused = [refused_trial(each) for each in batch if isinstance(each, RefusedTrial)]
    records = _tell(session, refused)
    able = [each for each in batch if isinstance(each, AskedTrial)]
    # Alone, an interrupted trial has checkpoints, and another interruption costs no other trial.
    together = len(able) > 1 and not any(_interrupted_before(session, asked) for asked in able)
    started = _start(session, able, batch=able[0].trial.number if together else None)
    if together:
        ended, started = _run_together(session, list(started))
        records += _tell(session, ended)
    for each in started:
        records += _run_alone(session, each)
    return records


def _interrupted_before(session: WorkerSession, asked: AskedTrial) -> bool:
    """Return whether an error or the end of a worker interrupted a trial before."""
    return retries_of(asked.trial) > 0 or session.worker.lapses(asked.trial) > 0


def _start(session: WorkerSession, every: Iterable[AskedTrial], batch: int | None) -> Iterable[StartedTrial]:
    """Start trials, each when it is asked for, except those that other workers have taken over."""
    for asked in every:
        try:
            yield start_trial(session, asked, batch)
        except LeaseLostError:
            _note_lost(session, asked.trial.number)


def _note_lost(session: WorkerSession, number: int) -> None:
    session.observer.note(f"trial {number} was taken over by another worker")
    session.observer.trial_cut_off(number)


def _run_alone(session: WorkerSession, started: StartedTrial) -> list[TrialRecord]:
    """Train a trial from its last checkpoint and record its result.

    Raises:
        DeviceLostError: The device refuses further work of this process.
    """
    result = _train_alone(started)
    records = _tell(session, [ended_trial(started, result)])
    if isinstance(result, Exception):
        require_device(result, session.task.device)
    return records


def _train_alone(started: StartedTrial) -> Result:
    """Return the result of a trial; raise errors of the database and the device."""
    began = time.perf_counter()
    try:
        return started.train()
    except LeaseLostError as error:
        return error
    except (StorageError, DeviceLostError):
        raise
    # A training may raise anything, as in run_with_retries(); InternalErrors tells the bugs of ours.
    except Exception as error:
        require_disk(error)
        started.progress.seconds = time.perf_counter() - began
        return error


def _run_together(session: WorkerSession, every: list[StartedTrial]) -> tuple[list[EndedTrial], list[StartedTrial]]:
    """Train a population; return the trials that ended, and those to train alone instead.

    Raises:
        DeviceLostError: The device refuses further work of this process.
    """
    if not every:
        return [], []
    for started in every:
        session.worker.write(started.lease)
    session.device_time.begin()
    try:
        session.device_time.require(every[0].trial)
        results = _train_together(session, every)
    except BudgetSpentError as error:
        results = [error] * len(every)
    finally:
        # Of the work that they share, any of them can count the seconds.
        session.device_time.spend(every[0].trial)
    if results is None:
        return [], every
    ended: list[EndedTrial] = []
    again: list[StartedTrial] = []
    for started, result in zip(every, results, strict=True):
        if isinstance(result, StorageError) and not isinstance(result, LeaseLostError):
            raise result
        if isinstance(result, Exception) and is_unexpected(result) and session.retries:
            started.retried(result)
            again.append(started)
        else:
            ended.append(ended_trial(started, result))
    return ended, again


def _train_together(session: WorkerSession, every: list[StartedTrial]) -> Sequence[Result] | None:
    """Return the results of trials trained together; None if that fails, for example for lack of memory."""
    try:
        return finetune_together(
            [started.planned.config for started in every],
            session.task,
            seed=session.study.settings.seed,
            on_epochs=[started.on_epoch for started in every],
        )
    except StorageError:
        raise
    # Whatever prevents them from training together, each has another chance alone, where its own errors count.
    except Exception as error:
        if is_device_lost(error, session.task.device):
            # Any of them may be the cause: the next process trains them one at a time.
            for started in every:
                started.retried(error)
            require_device(error, session.task.device)
        why = reason(error)
    free_memory(session.task.device)
    numbers = ", ".join(str(started.trial.number) for started in every)
    session.observer.note(f"trials {numbers} cannot be trained together ({why}) and train one at a time")
    return None


def _tell(session: WorkerSession, every: Sequence[EndedTrial]) -> list[TrialRecord]:
    """Record results in one transaction, except of trials that other workers have taken over; return the records."""
    if not every:
        return []
    lost: set[int] = set()
    told: list[tuple[EndedTrial, TrialRecord]] = []
    try:
        with session.worker.together():
            for ended in every:
                try:
                    told.append((ended, ended.tell(session.worker)))
                except LeaseLostError:
                    lost.add(ended.trial.number)
    except LeaseLostError as error:
        lost |= error.numbers
    for ended in every:
        if ended.trial.number in lost:
            _note_lost(session, ended.trial.number)
    kept = [(ended, record) for ended, record in told if record.number not in lost]
    for ended, record in kept:
        ended.finish(session, record)
    return [record for _, record in kept]
