"""The sampler: the budget picks the strategy, its first trials are its starts, TPE samples the others.

The first start of a strategy is its default configuration; a study may take further ones from earlier studies.

A sampler of the user's takes the place of TPE within each strategy.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from ..records import STRATEGY
from ..space import Domain
from .budget import BudgetAllocation
from .strategy_choice import StrategyChoice
from .strategy_trials import MODELED, StrategyTrials
from .strategy_view import strategy_view
from .tally import Tally
from .user_samplers import create_user_sampler

# Trials of a strategy before TPE models it; the first ones are the starts.
STARTUP_TRIALS = 4


@dataclass(frozen=True)
class _Draws:
    """The sampled parameters of a trial.

    Attributes:
        view: Study with the trials of the trial's strategy.
        together: Values sampled jointly by TPE, or those of a start.
        others: Sampler of all other parameters: TPE has too few trials, or none that had the parameter; the user's
            sampler itself.
    """

    view: Study
    together: Mapping[str, Any]
    others: BaseSampler


class StrategySampler(BaseSampler):
    """TPE (Bergstra et al. 2011) within each strategy, and between strategies where the budget leaves the choice.

    TPE splits trials into good and bad ones. Among the trials of all strategies, the good ones would be those of one
    strategy, and TPE would learn nothing about the others. So TPE models each strategy on its own trials, and the
    results of one strategy never affect another (contract C7).

    Values depend on the seed, the trial's number and the results so far, not on the process that samples them: a
    resumed study samples what it would have sampled without the interruption.

    Args:
        allotment: Allocation of the budget.
        seed: Seed of the sampling.
        starts: First configurations by strategy, the default before others; searched parameters, with Optuna's names.
        name: Sampler of the user's in place of TPE; see :func:`~.user_samplers.create_user_sampler`.
    """

    def __init__(
        self,
        allotment: BudgetAllocation,
        *,
        seed: int,
        starts: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        name: str = "",
    ) -> None:
        self._allotment = allotment
        self._seed = seed
        self._starts = starts or {}
        self._name = name
        self._tally = Tally()
        self._choice = StrategyChoice(STARTUP_TRIALS)
        self._trials: dict[str, StrategyTrials] = {}
        # The number of the latest trial, and its values.
        self._draws: tuple[int, _Draws] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # An interrupted trial returns with the same number.
        self._draws = None

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        # Optuna calls this before the strategy is known; only parameters that the trial needs are modeled.
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name == STRATEGY:
            return self._strategy(study, trial, getattr(param_distribution, "choices", ()))
        if self._draws is None or self._draws[0] != trial.number:
            view = self._view(study, trial.params[STRATEGY], most=None if self._name else MODELED)
            self._draws = trial.number, self._draw(study, view, trial)
        _, draws = self._draws
        if param_name in draws.together and _domain(param_distribution).contains(draws.together[param_name]):
            return draws.together[param_name]
        return draws.others.sample_independent(draws.view, trial, param_name, param_distribution)

    def _strategy(self, study: Study, trial: FrozenTrial, strategies: Sequence[str]) -> str:
        """Return the strategy that is due, or TPE's choice."""
        trials = study.get_trials(deepcopy=False)
        self._tally.update(trials)
        if (due := self._allotment.next_strategy(self._tally, trial.number, strategies)) is not None:
            return due
        self._choice.update(trials)
        return self._choice.choose(trial.number, strategies, self._seed_of(trial, STRATEGY))

    def _draw(self, study: Study, view: Study, trial: FrozenTrial) -> _Draws:
        """Sample the parameters of the trial's strategy jointly, when Optuna asks for the first of them."""
        strategy = trial.params[STRATEGY]
        others = RandomSampler(self._seed_of(trial, f"{strategy}/others"))
        if (start := self._start(study, view, trial)) is not None:
            return _Draws(view, start, others)
        sampler = self._tpe(trial, strategy)
        if self._name:
            sampler = others = create_user_sampler(self._name, self._seed_of(trial, strategy))
            sampler.before_trial(view, trial)
        space = sampler.infer_relative_search_space(view, trial)
        together = sampler.sample_relative(view, trial, {name: space[name] for name in space if name != STRATEGY})
        return _Draws(view, together, others)

    def _start(self, study: Study, view: Study, trial: FrozenTrial) -> Mapping[str, Any] | None:
        """Return the first start of the trial's strategy that no other trial has; None if all are taken."""
        starts = self._starts.get(trial.params[STRATEGY]) or [{}]
        trials = view.get_trials(deepcopy=False)
        # The trial itself is one of them.
        if len(trials) > len(starts):
            return None
        others = [each.params for each in trials if each.number != trial.number]
        free = [start for start in starts if not any(start.items() <= params.items() for params in others)]
        if not free or free[0] is starts[0]:
            return next(iter(free), None)
        # Workers that start at the same moment take different ones.
        self._tally.update(study.get_trials(deepcopy=False))
        return free[min(self._tally.choosing_before(trial.number), len(free) - 1)]

    def _view(self, study: Study, strategy: str, most: int | None) -> Study:
        """Return the view of a strategy's trials."""
        return strategy_view(study, self._trials.setdefault(strategy, StrategyTrials(strategy)), most=most)

    def _tpe(self, trial: FrozenTrial, purpose: str) -> TPESampler:
        """Return a TPE sampler with its own random state for this trial and purpose."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            return TPESampler(
                multivariate=True,
                group=True,
                constant_liar=True,
                n_startup_trials=STARTUP_TRIALS,
                seed=self._seed_of(trial, purpose),
            )

    def _seed_of(self, trial: FrozenTrial, purpose: str) -> int:
        return zlib.crc32(f"{self._seed}/{trial.number}/{purpose}".encode())


@lru_cache(maxsize=4096)
def _domain(distribution: BaseDistribution) -> Domain:
    """Return an Optuna distribution as a domain."""
    names = ("choices",) if isinstance(distribution, CategoricalDistribution) else ("low", "high")
    return Domain.model_validate({name: getattr(distribution, name) for name in names})
