"""The finals: each strategy's best configuration, retrained with several seeds and tested once per seed.

The seeds come in rounds: after each, the race of the strategies tells which of them need more.

With folds, the seeds take turns: each validates on one fold, for early stopping and the temperature, and trains on the
others. What its training images are is then a part of what its seed draws, so the spread of the seeds carries it. It is
the same for all strategies, which the intervals do not use: they are rather too wide than too narrow. As without folds,
they tell nothing of other training images, of which folds of one dataset know too little (Nadeau & Bengio 2003).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...objectives.calibration import fit_temperature
from ...objectives.data import ImageSplit
from ...objectives.devices import DeviceClock, free_memory
from ...objectives.epochs import EpochResult
from ...objectives.errors import DeviceLostError, ObjectiveError, TrainingFailedError
from ...objectives.finetune import NO_STAGES, FinetuneResult, predict
from ...objectives.metrics import score
from ...objectives.networks import measure_serving
from ...storage.database import Lease
from ...storage.errors import LeaseLostError, StorageError
from ..analysis import errors_of
from ..records import FinalRecord
from ..study import Finalist
from ..tracking import (
    describe,
    final_card,
    final_key,
    finish_final_run,
    keep_network,
    log_mistake_sheet,
    numbers,
    start_final_run,
    start_strategy_run,
)
from .logged_training import TrainingLog, logged_training
from .retries import reason, require_device, require_disk
from .session import WorkerSession
from .started_trial import MAX_INTERRUPTIONS, require_survivable


def run_finals(session: WorkerSession) -> None:
    """Train and test the missing finals; a recorded final is never trained or tested again."""
    study = session.study
    first = study.settings.race_rules.rounds[0]
    while due := study.results().due:
        most = 1 + max(finalist.place for finalist in due)
        if most > first:
            racing = ", ".join(dict.fromkeys(finalist.strategy for finalist in due))
            session.observer.note(f"undecided: {racing} race on, up to {most} seeds each")
        study.final_tickets.issue_for([finalist.subject for finalist in due])
        _run_issued(session)
    study.end_race({finalist.identity for finalist in study.candidates(study.trials())})


def _run_issued(session: WorkerSession) -> None:
    """Train and test all finals that have tickets, until no worker has one left."""
    study = session.study
    for lease in session.claims(session.worker.claim_final, study.final_tickets.exhausted):
        # Read again each time: another worker may have gone on to the next round, or failed a candidate.
        every = {finalist.subject: finalist for finalist in study.candidates(study.trials())}
        finalist = every.get(str(lease.subject))
        if finalist is None or study.finals.has(finalist.identity, finalist.seed):
            # A better trial replaced this candidate, or an older version recorded the final without a ticket.
            session.worker.drop_final(lease)
            continue
        issued, _ = study.final_tickets.counts()
        session.observer.final_started(finalist.identity, finalist.seed, lease.number + 1, issued)
        try:
            session.observer.final_finished(_run_final(session, finalist, lease))
        except LeaseLostError as error:
            session.observer.note(str(error))
            session.observer.final_cut_off(finalist.identity, finalist.seed)
        except StorageError:
            raise
        # A training may raise anything, as a trial's may.
        except Exception as error:
            _fail_or_raise(session, finalist, lease, error)
        free_memory(session.task.device)


def _fail_or_raise(session: WorkerSession, finalist: Finalist, lease: Lease, error: Exception) -> None:
    """Fail a candidate that cannot be trained again; what may be the machine's fault ends this process first.

    Raises:
        StorageError: The machine's disk, permissions or limits refuse what every final needs.
        DeviceLostError: The device refuses further work of this process.
        TrainingFailedError: An unexpected error, which another process may not meet.
    """
    require_disk(error)
    expected = isinstance(error, ObjectiveError) and not isinstance(error, DeviceLostError)
    # The same happened to other processes before: another one would meet it too.
    last = lease.lapses + 1 >= MAX_INTERRUPTIONS
    if expected or last:
        _fail(session, finalist, lease, error)
    else:
        session.worker.crash_final(lease)
    if isinstance(error, DeviceLostError):
        raise error
    require_device(error, session.task.device)
    if not (expected or last):
        raise TrainingFailedError(
            f"final {finalist.identity} seed {finalist.seed} failed: {reason(error)}. Try it again: frostline resume "
            f"{session.study.settings.name}{session.study.workspace.option}. After another failure the next best "
            f"configuration of {finalist.strategy} takes its place."
        ) from error


def _fail(session: WorkerSession, finalist: Finalist, lease: Lease, error: Exception) -> None:
    """Record that a candidate cannot be trained again, so that the next best takes its place."""
    why = _why_failed(error)
    session.study.fail_final(finalist.identity, why)
    session.tracker.known(final_key(finalist.strategy, finalist.trial.number, finalist.seed)).finish("FAILED")
    session.worker.drop_final(lease)
    session.observer.final_cut_off(finalist.identity, finalist.seed)
    session.observer.note(
        f"final {finalist.identity} seed {finalist.seed} failed: {why.rstrip('.')}. The next best configuration "
        f"of {finalist.strategy} takes its place."
    )


def _why_failed(error: Exception) -> str:
    """Return the reason of a failure; of a lost device its error alone, since a new process has been tried."""
    if isinstance(error, DeviceLostError) and isinstance(error.__cause__, Exception):
        return f"the device was lost each time: {reason(error.__cause__)}"
    return reason(error)


@dataclass(frozen=True)
class Tested:
    """What a finalist's training comes to on the test split.

    Attributes:
        split: The test images.
        final: Scores, costs and predictions.
    """

    split: ImageSplit
    final: FinalRecord


def evaluate_on_test(session: WorkerSession, finalist: Finalist, result: FinetuneResult) -> Tested:
    """Test a finalist's training. The temperature sees nothing of the test split."""
    test = session.dataset.open_test()
    probabilities = predict(result.network, test, session.task)
    final = FinalRecord(
        strategy=finalist.strategy,
        trial_number=finalist.trial.number,
        seed=finalist.seed,
        val_score=result.score,
        test_score=score(session.task.metric, probabilities, test.labels),
        seconds=result.seconds,
        trainable_parameters=result.trainable_parameters,
        temperature=fit_temperature(result.val_probabilities, session.final_task(finalist.place).val.labels),
        measured=numbers(describe(result)),
        labels=test.labels,
        probabilities=probabilities,
    )
    return Tested(test, final)


def _run_final(session: WorkerSession, finalist: Finalist, lease: Lease) -> FinalRecord:
    key = final_key(finalist.strategy, finalist.trial.number, finalist.seed)
    start_strategy_run(session.tracker, finalist.strategy)
    run = start_final_run(
        session.tracker, finalist.strategy, finalist.trial.number, finalist.seed, finalist.trial.config
    )
    log = TrainingLog(run, session.observer, f"final {finalist.identity} seed {finalist.seed}")
    require_survivable(lease)

    def on_epoch(result: EpochResult) -> None:
        log.epoch(result)
        session.observer.epoch_finished(finalist.trial.number, result)

    checkpoints = session.checkpoints(key, lease)
    # Costs decide ties, so every final runs its full training.
    task = replace(session.final_task(finalist.place), stages=NO_STAGES)
    clock = DeviceClock(task.device)
    result = logged_training(
        log,
        finalist.config,
        task,
        seed=finalist.seed,
        checkpoints=checkpoints,
        retries=session.retries,
        on_epoch=on_epoch,
    )
    # An interrupted training has used as much of its device before: only its wall time is known.
    device_seconds = clock.share() * result.seconds
    tested = evaluate_on_test(session, finalist, result)
    given = session.dataset.preprocessing
    costs = measure_serving(result.network, given.image_size, task.device, given.channels)
    final = replace(tested.final, device_seconds=device_seconds, latency=costs.latency, size=costs.size)
    # The network's folder has no token: who has lost the lease must not touch what its successor keeps there.
    session.worker.require(lease)
    study = session.study
    card = final_card(study.settings, session.dataset, final, finalist.config, result.network)
    val = task.val
    keep_network(study, final, card, result.network, val.canvas[val.indices[0]])
    # What the database does not keep is told first: whoever finds the final recorded cannot tell it.
    log.finished(result)
    log_mistake_sheet(run, errors_of([final], tested.split.classes), tested.split, session.tracker.outgoing(key))
    study.finals.add(finalist.identity, final.seed, final.to_row(), final.labels, final.probabilities, lease)
    session.worker.ended_final(lease)
    checkpoints.remove()
    finish_final_run(run, final, study)
    return final
