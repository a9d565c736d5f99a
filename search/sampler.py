"""What to try next: a floor of trials for every strategy, and TPE within each."""

from __future__ import annotations

import math
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

STRATEGY = "strategy"
# Share of the budget that is spread evenly over the strategies; TPE spends the rest where it expects most.
FLOOR_SHARE = 0.6
# Trials of a strategy before TPE models it; the first is its default configuration.
STARTUP_TRIALS = 4


def strategy_floor(budget: int, strategies: int) -> int:
    """Trials that every strategy gets before any gets more."""
    return max(1, math.ceil(FLOOR_SHARE * budget / strategies))


class OneStrategy:
    """A study as Optuna's samplers and pruners see it, with the trials of one strategy only (contract C7)."""

    def __init__(self, study: Study, strategy: str) -> None:
        self._study = study
        self._strategy = strategy

    @classmethod
    def of(cls, study: Study, strategy: str) -> Study:
        return cast(Study, cls(study, strategy))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    def get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return self._own(self._study.get_trials(*args, **kwargs))

    def _get_trials(self, *args: Any, **kwargs: Any) -> list[FrozenTrial]:
        return self._own(self._study._get_trials(*args, **kwargs))

    def _own(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        return [trial for trial in trials if trial.params.get(STRATEGY) == self._strategy]


class StrategySampler(BaseSampler):
    """TPE (Bergstra et al. 2011) within each strategy, and a floor of trials for all of them.

    TPE splits trials into good and bad ones; among the trials of all strategies the good ones would be those of one
    strategy, and the others would learn nothing. So each is modelled on its own trials: what is learned about one
    never steers another (contract C7).

    What is drawn depends on the seed, the trial's number and the results so far, and not on the process that draws:
    a study that was interrupted goes on as it would have.

    Args:
        budget: Trials of the study.
        seed: Of the sampling.
        costs: Of a trial of each strategy, in any unit; alike if None.
    """

    def __init__(self, budget: int, *, seed: int, costs: Mapping[str, float] | None = None) -> None:
        self._budget = budget
        self._costs = costs or {}
        self._seed = seed
        # Of the latest trial: its number, and what was drawn for it.
        self._drawn: tuple[int, dict[str, Any]] = (-1, {})

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # One that was cut off comes again with the same number.
        self._drawn = (-1, {})

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        # Asked before the strategy is known, and only what a trial needs is modelled.
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        view = study
        if param_name == STRATEGY:
            due = self._below_floor(study, trial, list(getattr(param_distribution, "choices", ())))
            if due is not None:
                return due
        else:
            view = OneStrategy.of(study, trial.params[STRATEGY])
            drawn = self._drawn_together(view, trial)
            if param_name in drawn and _contains(param_distribution, drawn[param_name]):
                return drawn[param_name]
        return self._tpe(trial, param_name).sample_independent(view, trial, param_name, param_distribution)

    def _drawn_together(self, view: Study, trial: FrozenTrial) -> dict[str, Any]:
        """Parameters of the trial's strategy, drawn jointly when the first of them is asked for."""
        number, params = self._drawn
        if number != trial.number:
            tpe = self._tpe(trial, trial.params[STRATEGY])
            space = tpe.infer_relative_search_space(view, trial)
            params = tpe.sample_relative(view, trial, {name: space[name] for name in space if name != STRATEGY})
            self._drawn = trial.number, params
        return params

    def _tpe(self, trial: FrozenTrial, purpose: str) -> TPESampler:
        """A sampler with a random state of its own for this trial and purpose."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=STARTUP_TRIALS,
                seed=zlib.crc32(f"{self._seed}/{trial.number}/{purpose}".encode()),
            )

    def _below_floor(self, study: Study, trial: FrozenTrial, strategies: list[str]) -> str | None:
        """The strategy on which least will have been spent after one more trial; None once all have their floor.

        So what is cheap comes first, and good scores are there early; where the budget is too small for all floors,
        nobody gets more than a fair share before the others have theirs.
        """
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        count = Counter(other.params.get(STRATEGY) for other in others)
        floor, fair_share = strategy_floor(self._budget, len(strategies)), self._budget // len(strategies)
        below = [name for name in strategies if count[name] < floor]
        due = [name for name in below if count[name] < fair_share] or below
        return min(due, key=lambda name: (count[name] + 1) * self._costs.get(name, 1.0), default=None)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    return distribution._contains(distribution.to_internal_repr(value))
