"""The batches of trials to run next: one trial, or several head-only trials that train together."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import Trial

from ...objectives.config import TrialConfig, create_config
from ...objectives.errors import InvalidInputError
from ...objectives.populations import can_train_together
from ..records import STRATEGY
from .worker import Worker


@dataclass(frozen=True)
class AskedTrial:
    """A claimed trial with its sampled configuration.

    Attributes:
        trial: Optuna trial.
        strategy: Name of the strategy.
        config: Configuration, or the error of the sampled values.
    """

    trial: Trial
    strategy: str
    config: TrialConfig | InvalidInputError


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
        self._in_hand: AskedTrial | None = None
        self._claimed: list[Trial] = []
        # If every trial may join a batch, trials are claimed together: a claim costs as much as epochs of a head.
        settings = self._study.settings
        configs = (create_config(settings.space.default(strategy)) for strategy in settings.strategies)
        self._at_once = settings.population if all(map(self._is_head_only, configs)) else 1

    def next(self) -> list[AskedTrial]:
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

    def _ask(self) -> AskedTrial | None:
        settings = self._study.settings
        if not self._claimed:
            self._claimed = self._worker.claim(self._at_once)
        if not self._claimed:
            return None
        trial = self._claimed.pop(0)
        strategy = trial.suggest_categorical(STRATEGY, list(settings.strategies))
        try:
            return AskedTrial(trial, strategy, settings.space.suggest(trial, strategy))
        except InvalidInputError as error:
            return AskedTrial(trial, strategy, error)

    def _in_population(self, asked: AskedTrial) -> bool:
        return isinstance(asked.config, TrialConfig) and self._is_head_only(asked.config)

    def _is_head_only(self, config: TrialConfig) -> bool:
        return can_train_together(config, len(self._study.facts.units))
