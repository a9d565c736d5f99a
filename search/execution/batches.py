"""Which trials are run next: one, or a batch of those that train nothing but a head and train together."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import Trial

from ...objectives.config import TrialConfig, create_config
from ...objectives.populations.population import can_train_together
from ...storage.errors import StorageError
from ..records import STRATEGY
from .worker import Worker


@dataclass(frozen=True)
class Asked:
    """A trial of the study that is to be run.

    Attributes:
        trial: Optuna's.
        strategy: Its strategy.
        config: Its configuration, or what is wrong with the values that were drawn.
    """

    trial: Trial
    strategy: str
    config: TrialConfig | Exception


class Asking:
    """Claims trials of a study, and asks what they train.

    With one worker a batch depends on the study and nothing else: who goes on with a study that was cut off is given
    the same ones, for what was cut off waits in its old order.

    Args:
        worker: Claims the trials.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._study = worker.study
        # One that was claimed for a batch, and is of another kind.
        self._in_hand: Asked | None = None
        self._claimed: list[Trial] = []
        # Where all trials may be of one batch they are claimed together: a claim costs as much as epochs of a head.
        settings = self._study.settings
        configs = (create_config(settings.space.default(strategy)) for strategy in settings.strategies)
        self._at_once = settings.population if all(map(self._is_head_only, configs)) else 1

    def batch(self) -> list[Asked]:
        """The next trials, several if all of them can train together; none if there are none just now."""
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

    def _ask(self) -> Asked | None:
        settings = self._study.settings
        if not self._claimed:
            self._claimed = self._worker.claim(self._at_once)
        if not self._claimed:
            return None
        trial = self._claimed.pop(0)
        strategy = trial.suggest_categorical(STRATEGY, list(settings.strategies))
        try:
            return Asked(trial, strategy, settings.space.suggest(trial, strategy))
        except StorageError:
            raise
        except Exception as error:
            return Asked(trial, strategy, error)

    def _in_population(self, asked: Asked) -> bool:
        return isinstance(asked.config, TrialConfig) and self._is_head_only(asked.config)

    def _is_head_only(self, config: TrialConfig) -> bool:
        return can_train_together(config, len(self._study.facts.units))
