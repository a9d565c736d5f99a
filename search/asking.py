"""Which trials are run next: one, or a batch of those that train nothing but a head and train together."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.trial import Trial

from ..objectives.config import TrialConfig
from ..objectives.population import can_train_together
from ..storage.errors import StorageError
from .sampler import STRATEGY
from .study import Study


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
    """Asks a study for trials.

    A batch depends on the study and nothing else: who goes on with a study that was cut off is given the same ones,
    for what was cut off waits in its old order.

    Args:
        study: Held by this process.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        # One that was asked for a batch, and is of another kind.
        self._in_hand: Asked | None = None

    def batch(self) -> list[Asked]:
        """The next trials, never more than the budget has left; several if all of them can train together."""
        settings = self._study.settings
        most = min(settings.population, settings.trials - self._study.finished())
        with self._study.together():
            first, self._in_hand = self._in_hand or self._ask(), None
            batch = [first]
            while self._in_population(batch[-1]) and len(batch) < most:
                asked = self._ask()
                if not self._in_population(asked):
                    self._in_hand = asked
                    break
                batch.append(asked)
        return batch

    def _ask(self) -> Asked:
        settings = self._study.settings
        trial = self._study.inner.ask()
        strategy = trial.suggest_categorical(STRATEGY, list(settings.strategies))
        try:
            return Asked(trial, strategy, settings.space.suggest(trial, strategy))
        except StorageError:
            raise
        except Exception as error:
            return Asked(trial, strategy, error)

    def _in_population(self, asked: Asked) -> bool:
        units = len(self._study.facts.units)
        return isinstance(asked.config, TrialConfig) and can_train_together(asked.config, units)
