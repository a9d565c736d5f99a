"""What to try next: a floor of trials for every strategy, and TPE within each."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial

STRATEGY = "strategy"
# Share of the budget that is spread evenly over the strategies; TPE spends the rest where it expects most.
FLOOR_SHARE = 0.6


def strategy_floor(budget: int, strategies: int) -> int:
    """Trials that every strategy gets before any gets more."""
    return max(1, math.ceil(FLOOR_SHARE * budget / strategies))


class StrategySampler(TPESampler):
    """TPE (Bergstra et al. 2011) that gives every strategy its floor first.

    Parameters bear their strategy's name, so that the joint model of a group sees trials of one strategy only: what
    is learned about one never steers another (contract C7).

    Args:
        budget: Trials of the study.
        seed: Of the sampling.
    """

    def __init__(self, budget: int, *, seed: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            super().__init__(multivariate=True, group=True, constant_liar=True, seed=seed)
        self._budget = budget

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        params = super().sample_relative(study, trial, search_space)
        # Left out here, a parameter is asked for below, where the floor is known.
        params.pop(STRATEGY, None)
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name == STRATEGY:
            due = self._below_floor(study, trial, list(getattr(param_distribution, "choices", ())))
            if due is not None:
                return due
        return super().sample_independent(study, trial, param_name, param_distribution)

    def _below_floor(self, study: Study, trial: FrozenTrial, strategies: list[str]) -> str | None:
        """The strategy with the fewest trials, unless all have their floor."""
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        count = Counter(other.params.get(STRATEGY) for other in others)
        fewest = min(strategies, key=lambda name: count[name])
        return fewest if count[fewest] < strategy_floor(self._budget, len(strategies)) else None
