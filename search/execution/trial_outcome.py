"""How a trial ended: what the study records of it, and what MLflow and the observer hear afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from ...objectives.finetune import FinetuneResult
from ...storage.errors import LeaseLostError
from ..records import BUDGET, TrialRecord
from ..study import OUTCOME
from ..tracking import describe, finish_trial_run, log_traceback
from .batches import RefusedTrial
from .device_time import BudgetSpentError
from .fold_results import FoldsResult
from .retries import is_unexpected, reason
from .session import WorkerSession
from .started_trial import Progress, StartedTrial
from .worker import Worker

Result = FinetuneResult | FoldsResult | Exception
"""The result of a training, or of one on each fold, or the error that ended it."""


@dataclass(frozen=True)
class EndedTrial:
    """A trial that has ended in this worker, whether or not it was started.

    Attributes:
        trial: Optuna trial.
        result: Result of its training, or the error that ended it.
        outcome: Costs, checks and reason that the study records.
        started: The trial as it was started; None if it was refused before.
    """

    trial: Trial
    result: Result
    outcome: dict[str, Any]
    started: StartedTrial | None = None

    def tell(self, worker: Worker) -> TrialRecord:
        """Record the result in the study, and what was trained in MLflow.

        Raises:
            LeaseLostError: Another worker has the trial now.
        """
        if isinstance(self.result, LeaseLostError):
            raise self.result
        if self.started is not None:
            _log(self.started, self.result)
        self.trial.set_user_attr(OUTCOME, self.outcome)
        return worker.tell(self.trial, *_score_and_state(self.result))

    def finish(self, session: WorkerSession, record: TrialRecord) -> None:
        """Finish the MLflow run and call the observer, after the study has the result."""
        if self.started is not None:
            self.started.checkpoints.remove()
            backbone, log = session.study.settings.backbone, self.started.log
            finish_trial_run(log.run, record, backbone, self.outcome, logged=log.seen)
        session.observer.trial_finished(record)


def ended_trial(started: StartedTrial, result: Result) -> EndedTrial:
    """Return how a started trial ended."""
    outcome = _outcome(result, started.progress)
    if isinstance(result, BudgetSpentError):
        outcome |= _ended_by_budget(started)
    return EndedTrial(started.trial, result, outcome, started)


def _ended_by_budget(started: StartedTrial) -> dict[str, Any]:
    """Return what is known of a trial that the budget ended, which may be a finalist as it is."""
    done, progress, planned = len(started.progress.reported), started.progress, started.planned
    unit = "fold" if started.session.folds else "epoch"
    when = f"after {unit} {done} of {started.steps}" if done else f"before its first {unit}"
    return {
        "seconds": started.lease.used_seconds + progress.seconds,
        "ended_by": BUDGET,
        "reason": f"the budget ended {when}",
        "freeze_depth": planned.phases[-1].freeze_depth,
    }


def refused_trial(refused: RefusedTrial) -> EndedTrial:
    """Return how a trial ended whose configuration cannot be trained."""
    return EndedTrial(refused.trial, refused.error, _outcome(refused.error, Progress(set(), 0)))


def _outcome(result: Result, progress: Progress) -> dict[str, Any]:
    outcome: dict[str, Any] = {"seconds": progress.seconds}
    if progress.micro_batch:
        outcome["micro_batch"] = progress.micro_batch
    if progress.retries:
        outcome["retries"] = progress.retries
    if isinstance(result, FinetuneResult):
        return outcome | describe(result)
    if isinstance(result, FoldsResult):
        return outcome | result.describe()
    return outcome if isinstance(result, optuna.TrialPruned) else {**outcome, "reason": reason(result)}


def _score_and_state(result: Result) -> tuple[float | None, TrialState]:
    if isinstance(result, FinetuneResult | FoldsResult):
        return result.score, TrialState.COMPLETE
    return None, TrialState.PRUNED if isinstance(result, optuna.TrialPruned) else TrialState.FAIL


def _log(started: StartedTrial, result: Result) -> None:
    if isinstance(result, FinetuneResult):
        started.log.finished(result)
    elif isinstance(result, FoldsResult):
        started.log.finished_folds(result.folds)
    elif is_unexpected(result):
        log_traceback(started.log.run, result)
