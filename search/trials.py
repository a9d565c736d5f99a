"""The trial loop: ask, train, report, tell, until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import Trial, TrialState

from ..objectives.checkpoint import Checkpoints
from ..objectives.config import TrialConfig, flatten, without_effect
from ..objectives.devices import free_memory
from ..objectives.errors import ObjectiveError
from ..objectives.finetune import finetune
from ..objectives.plans import plan_phases
from ..objectives.strategies import get_strategy, takes_parameter
from ..objectives.training import EpochResult, OnEpoch
from ..storage.errors import StorageError
from ..storage.tracking import TrackedRun
from .sampler import STRATEGY
from .session import Session, trial_key
from .study import OUTCOME, STARTED, Study, trial_record
from .tracked import describe, epoch_metrics, finish_trial_run, log_certificate, trial_name


def run_trials(session: Session) -> None:
    """Run trials until as many as the study's budget are complete, pruned or failed."""
    session.observer.study_started(session.study.settings, session.study.trials())
    while session.study.finished() < session.study.settings.trials:
        _run_trial(session)


def active_parameters(config: TrialConfig, units: int) -> dict[str, Any]:
    """What a configuration's training depends on, by dotted name: only parameters that have an effect in it."""
    strategy = get_strategy(config.strategy)
    values = {name: value for name, value in flatten(config).items() if takes_parameter(strategy, name)}
    values["freeze_depth"] = plan_phases(config, units)[-1].freeze_depth
    absent = without_effect(config)
    return {name: value for name, value in values.items() if value is not None and name not in absent}


def _run_trial(session: Session) -> None:
    trial = session.study.inner.ask()
    settings = session.study.settings
    strategy = trial.suggest_categorical(STRATEGY, list(settings.strategies))
    started = time.perf_counter()
    checkpoints = session.checkpoints(trial_key(trial.number))
    run: TrackedRun | None = None
    try:
        config = settings.space.suggest(trial, strategy)
        units = len(session.study.facts.units)
        parameters = active_parameters(config, units)
        run = session.tracker.run(
            trial_key(trial.number),
            trial_name(trial.number, parameters, settings.backbone),
            parameters,
            {STRATEGY: strategy, "kind": "trial"},
        )
        trial.set_user_attr(STARTED, {"config": parameters})
        session.study.write()
        epochs = sum(phase.epochs for phase in plan_phases(config, units))
        session.observer.trial_started(trial.number, strategy, epochs)
        report = _reporter(session, trial, run, epochs)
        kept = _AfterReports(checkpoints, session.study)
        result = finetune(config, session.task, seed=settings.seed, on_epoch=report, checkpoints=kept)
        log_certificate(run, result)
        outcome, state = describe(result), TrialState.COMPLETE
        score = result.score
        del result
    except optuna.TrialPruned:
        outcome, state, score = {}, TrialState.PRUNED, None
    except StorageError:
        raise
    except Exception as error:
        outcome, state, score = {"reason": _reason(error)}, TrialState.FAIL, None
    free_memory(session.task.device)
    outcome = {"seconds": time.perf_counter() - started, **outcome}
    trial.set_user_attr(OUTCOME, outcome)
    record = trial_record(session.study.inner.tell(trial, score, state=state))
    checkpoints.remove()
    if run is not None:
        finish_trial_run(run, record, settings.backbone, outcome)
    session.observer.trial_finished(record)


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


def _reporter(session: Session, trial: Trial, run: TrackedRun, epochs: int) -> OnEpoch:
    """What follows an epoch: tracking, the observer, and pruning, which after the last one would save nothing."""
    # A trial that was cut off has reported its first epochs already.
    reported = session.study.inner.get_trials(deepcopy=False)[trial.number].intermediate_values.keys()
    seen: list[int] = []

    def on_epoch(result: EpochResult) -> None:
        if not seen and result.epoch > 0:
            session.observer.note(f"trial {trial.number} went on from epoch {result.epoch}")
        seen.append(result.epoch)
        run.log_step(result.epoch, epoch_metrics(result))
        session.observer.epoch_finished(trial.number, result)
        if result.epoch not in reported:
            trial.report(result.score, result.epoch)
        if result.epoch + 1 < epochs and trial.should_prune():
            raise optuna.TrialPruned

    return on_epoch


def _reason(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0] if isinstance(error, ObjectiveError) else f"{type(error).__name__}: {text[0] if text else ''}"
