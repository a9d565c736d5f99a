"""The trial loop: ask, train, report, tell, until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import TrialState

from ..objectives.checkpoint import Checkpoints
from ..objectives.config import TrialConfig, flatten, without_effect
from ..objectives.devices import free_memory
from ..objectives.errors import ObjectiveError
from ..objectives.finetune import FinetuneResult, finetune
from ..objectives.plans import plan_phases
from ..objectives.population import finetune_together
from ..objectives.strategies import get_strategy, takes_parameter
from ..objectives.training import EpochResult
from ..storage.errors import StorageError
from ..storage.tracking import TrackedRun
from .asking import Asked, Asking
from .sampler import STRATEGY
from .session import Session, trial_key
from .study import OUTCOME, STARTED, Study
from .tracked import describe, epoch_metrics, finish_trial_run, log_certificate


def run_trials(session: Session) -> None:
    """Run trials until as many as the study's budget are complete, pruned or failed."""
    session.observer.study_started(session.study.settings, session.study.trials())
    asking = Asking(session.study)
    while session.study.finished() < session.study.settings.trials:
        running = [_Running(session, asked) for asked in asking.batch()]
        if len(running) == 1:
            _tell(session, running, [_train_alone(session, running[0])])
        else:
            _tell(session, running, _train_together(session, running))
        free_memory(session.task.device)


def active_parameters(config: TrialConfig, units: int) -> dict[str, Any]:
    """What a configuration's training depends on, by dotted name: only parameters that have an effect in it."""
    strategy = get_strategy(config.strategy)
    values = {name: value for name, value in flatten(config).items() if takes_parameter(strategy, name)}
    values["freeze_depth"] = plan_phases(config, units)[-1].freeze_depth
    absent = without_effect(config)
    return {name: value for name, value in values.items() if value is not None and name not in absent}


class _Running:
    """A trial from its first note in the study to its last.

    Args:
        session: The process at work.
        asked: What is run.

    Attributes:
        checkpoints: Of its training.
        seconds: Of its epochs so far.
    """

    def __init__(self, session: Session, asked: Asked) -> None:
        self._session = session
        self.trial = asked.trial
        self.strategy = asked.strategy
        self._asked = asked.config
        self.checkpoints = session.checkpoints(trial_key(asked.trial.number))
        self.seconds = 0.0
        self._epochs = 0
        self._run: TrackedRun | None = None
        # A trial that was cut off has reported its first epochs already.
        self._reported = session.study.inner.get_trials(deepcopy=False)[self.trial.number].intermediate_values.keys()
        self._seen: list[int] = []

    @property
    def config(self) -> TrialConfig:
        """Raises what is wrong with it."""
        if isinstance(self._asked, Exception):
            raise self._asked
        return self._asked

    def begin(self) -> None:
        """Note in the study and in MLflow what is trained.

        Raises:
            InvalidInputError: The configuration cannot be trained.
        """
        key, units = trial_key(self.trial.number), len(self._session.study.facts.units)
        parameters = active_parameters(self.config, units)
        name = f"{self.trial.number:03d} {self.strategy}"
        self._run = self._session.tracker.run(key, name, parameters, {STRATEGY: self.strategy, "kind": "trial"})
        self.trial.set_user_attr(STARTED, {"config": parameters})
        self._epochs = sum(phase.epochs for phase in plan_phases(self.config, units))
        self._session.observer.trial_started(self.trial.number, self.strategy, self._epochs)

    def on_epoch(self, result: EpochResult) -> None:
        """What follows an epoch: tracking, the observer, and pruning, which after the last one would save nothing."""
        assert self._run is not None
        observer, trial = self._session.observer, self.trial
        if not self._seen and result.epoch > 0:
            observer.note(f"trial {trial.number} went on from epoch {result.epoch}")
        self._seen.append(result.epoch)
        self.seconds += result.seconds
        self._run.log_step(result.epoch, epoch_metrics(result))
        observer.epoch_finished(trial.number, result)
        if result.epoch not in self._reported:
            trial.report(result.score, result.epoch)
        if result.epoch + 1 < self._epochs and trial.should_prune():
            raise optuna.TrialPruned

    def tell(self, ended: FinetuneResult | Exception) -> None:
        """Note in the study how it ended."""
        outcome: dict[str, Any] = {"seconds": self.seconds}
        score, state = None, TrialState.FAIL
        if isinstance(ended, FinetuneResult):
            if self._run is not None:
                log_certificate(self._run, ended)
            outcome, score, state = describe(ended), ended.score, TrialState.COMPLETE
        elif isinstance(ended, optuna.TrialPruned):
            state = TrialState.PRUNED
        else:
            outcome["reason"] = _reason(ended)
        self.trial.set_user_attr(OUTCOME, outcome)
        self._session.study.inner.tell(self.trial, score, state=state)

    def close(self) -> None:
        """Tell the others; the study knows it."""
        study = self._session.study
        record = study.trial(self.trial.number)
        self.checkpoints.remove()
        if self._run is not None:
            finish_trial_run(self._run, record.state, record.score, study.outcome(record.number))
        self._session.observer.trial_finished(record)


def _train_alone(session: Session, running: _Running) -> FinetuneResult | Exception:
    """One trial, which goes on where its checkpoints end; what it came to."""
    started = time.perf_counter()
    try:
        running.begin()
        session.study.write()
        kept = _AfterReports(running.checkpoints, session.study)
        seed = session.study.settings.seed
        return finetune(running.config, session.task, seed=seed, on_epoch=running.on_epoch, checkpoints=kept)
    except StorageError:
        raise
    except Exception as error:
        running.seconds = time.perf_counter() - started
        return error


def _train_together(session: Session, every: list[_Running]) -> list[FinetuneResult | Exception]:
    """A population; what each trial of it came to. One that was cut off begins anew."""
    for running in every:
        running.begin()
    session.study.write()
    ended = finetune_together(
        [running.config for running in every],
        session.task,
        seed=session.study.settings.seed,
        on_epochs=[running.on_epoch for running in every],
    )
    for outcome in ended:
        if isinstance(outcome, StorageError):
            raise outcome
    return ended


def _tell(session: Session, every: list[_Running], ended: list[FinetuneResult | Exception]) -> None:
    """Note in the study, in one transaction, how trials ended: all of a population, or none if it is cut off."""
    with session.study.together():
        for running, outcome in zip(every, ended, strict=True):
            running.tell(outcome)
    for running in every:
        running.close()


@dataclass(frozen=True)
class _AfterReports:
    """Checkpoints of a trial, each written after the reports of its epochs: who goes on from it has them."""

    checkpoints: Checkpoints
    study: Study

    def save(self, state: Callable[[], bytes]) -> None:
        def reported() -> bytes:
            self.study.write()
            return state()

        self.checkpoints.save(reported)

    def load(self) -> bytes | None:
        return self.checkpoints.load()


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, ObjectiveError) else f"{type(error).__name__}: {text[0] if text else ''}"
