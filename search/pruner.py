"""When to stop a trial early: against the median of its own strategy only."""

from __future__ import annotations

from typing import Any, cast

from optuna import Study
from optuna.pruners import BasePruner, MedianPruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from .sampler import STRATEGY


class _OneStrategy:
    """A study as a pruner sees it, with the trials of one strategy."""

    def __init__(self, study: Study, strategy: str) -> None:
        self._study = study
        self._strategy = strategy

    @property
    def direction(self) -> StudyDirection:
        return self._study.direction

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        trials = self._study.get_trials(*args, **kwargs)
        return [trial for trial in trials if trial.params.get(STRATEGY) == self._strategy]


class StrategyPruner(BasePruner):
    """Optuna's median rule within a strategy.

    Strategies learn at different speeds: a linear probe starts fast, fine-tuning slowly. One rule for all would stop
    the slow ones (contract C7).
    """

    def __init__(self) -> None:
        self._median = MedianPruner(n_startup_trials=2, n_warmup_steps=2)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        view = cast(Study, _OneStrategy(study, trial.params[STRATEGY]))
        return self._median.prune(view, trial)
