"""The batches of trials to run next: one trial, or several head-only trials that train together."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import Trial

from ...objectives.config import TrialConfig, create_config
from ...objectives.errors import InvalidInputError
from ...objectives.populations import can_train_together
from ...objectives.strategies import PlannedTrial, plan_trial
from ...storage.errors import LeaseLostError
from ..records import STRATEGY
from .worker import Worker


@dataclass(frozen=True)
class AskedTrial:
    """A claimed trial with its sampled configuration.

    Attributes:
        trial: Optuna trial.
        strategy: Name of the strategy.
        planned: Configuration, and the phases of it.
    """

    trial: Trial
    strategy: str
    planned: PlannedTrial


@dataclass(frozen=True)
class RefusedTrial:
    """A claimed trial whose sampled values cannot be trained.

    Attributes:
        trial: Optuna trial.
        error: What is wrong with the values.
    """

    trial: Trial
    error: InvalidInputError


class TrialBatches:
    """Claims trials of a study and samples their configurations.

    With one worker, batches depend on the study only: a resumed study gets the same batches, because interrupted
    trials wait in their old order.

    Args:
        worker: Worker that claims the trials.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._study = worker.study
        # A claimed trial that does not fit into the last batch.
        self._in_hand: AskedTrial | RefusedTrial | None = None
        self._claimed: list[Trial] = []
        # If every trial may join a batch, trials are claimed together: a claim costs as much as epochs of a head.
        settings = self._study.settings
        defaults = (create_config(settings.space.default(strategy)) for strategy in settings.strategies)
        self._at_once = settings.population if all(self._is_head_only(self._plan(each)) for each in defaults) else 1

    def next(self) -> list[AskedTrial | RefusedTrial]:
        """Return the next trials, several if they can train together; an empty list if no trial is free."""
        first, self._in_hand = self._in_hand or self._ask(), None
        batch = [first] if first else []
        while batch and self._in_population(batch[-1]) and len(batch) < self._study.settings.population:
            asked = self._ask()
            if asked is None:
                break
            if not self._in_population(asked):
                self._in_hand = asked
                break
            batch.append(asked)
        return batch

    def _ask(self) -> AskedTrial | RefusedTrial | None:
        if not self._claimed:
            self._claimed = self._worker.claim(self._at_once)
        while self._claimed:
            try:
                return self._sample(self._claimed.pop(0))
            except LeaseLostError:
                # Another worker has it since; the next of those that were claimed with it may still be ours.
                continue
        return None

    def _sample(self, trial: Trial) -> AskedTrial | RefusedTrial:
        settings = self._study.settings
        strategy = trial.suggest_categorical(STRATEGY, list(settings.strategies))
        try:
            return AskedTrial(trial, strategy, self._plan(settings.space.suggest(trial, strategy)))
        except InvalidInputError as error:
            return RefusedTrial(trial, error)

    def _plan(self, config: TrialConfig) -> PlannedTrial:
        return plan_trial(config, len(self._study.facts.units))

    def _in_population(self, asked: AskedTrial | RefusedTrial) -> bool:
        return isinstance(asked, AskedTrial) and self._is_head_only(asked.planned)

    def _is_head_only(self, planned: PlannedTrial) -> bool:
        return can_train_together(planned, len(self._study.facts.units))
