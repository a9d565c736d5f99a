"""What to try next: the strategy whose turn it is, its default configuration first, and TPE within each."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from ..records import STRATEGY
from ..space.space import Domain
from .budget import Allotment
from .strategy_view import strategy_view

# Trials of a strategy before TPE models it; the first is its default configuration.
STARTUP_TRIALS = 4


@dataclass(frozen=True)
class _Draws:
    """A trial's parameters.

    Attributes:
        view: The study with the trials of the trial's strategy.
        together: Those that are modelled, drawn jointly; the default configuration of a strategy's first trial.
        others: Draws the rest: there are too few trials to learn from, or none that had the parameter.
    """

    view: Study
    together: Mapping[str, Any]
    others: RandomSampler


class StrategySampler(BaseSampler):
    """TPE (Bergstra et al. 2011) within each strategy, and between them where the budget is free.

    TPE splits trials into good and bad ones; among the trials of all strategies the good ones would be those of one
    strategy, and the others would learn nothing. So each is modelled on its own trials: what is learned about one
    never steers another (contract C7).

    What is drawn depends on the seed, the trial's number and the results so far, and not on the process that draws:
    a study that was interrupted goes on as it would have.

    Args:
        allotment: Of the budget.
        seed: Of the sampling.
        defaults: The configuration that each strategy begins with, by the names that its parameters have in Optuna.
    """

    def __init__(
        self, allotment: Allotment, *, seed: int, defaults: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._allotment = allotment
        self._seed = seed
        self._defaults = defaults or {}
        # For the latest trial, by its number.
        self._draws: tuple[int, _Draws] | None = None

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        # One that was cut off comes again with the same number.
        self._draws = None

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
        if param_name == STRATEGY:
            strategies = getattr(param_distribution, "choices", ())
            due = self._allotment.due(study.get_trials(deepcopy=False), trial.number, strategies)
            if due is not None:
                return due
            return self._tpe(trial, param_name).sample_independent(study, trial, param_name, param_distribution)
        if self._draws is None or self._draws[0] != trial.number:
            self._draws = trial.number, self._draw(strategy_view(study, trial.params[STRATEGY]), trial)
        _, draws = self._draws
        if param_name in draws.together and _domain(param_distribution).contains(draws.together[param_name]):
            return draws.together[param_name]
        return draws.others.sample_independent(draws.view, trial, param_name, param_distribution)

    def _draw(self, view: Study, trial: FrozenTrial) -> _Draws:
        """Draw what the trial's strategy has been seen with, when the first of it is asked for."""
        strategy = trial.params[STRATEGY]
        others = RandomSampler(self._seed_of(trial, f"{strategy}/others"))
        if all(other.number == trial.number for other in view.get_trials(deepcopy=False)):
            return _Draws(view, self._defaults.get(strategy, {}), others)
        tpe = self._tpe(trial, strategy)
        space = tpe.infer_relative_search_space(view, trial)
        together = tpe.sample_relative(view, trial, {name: space[name] for name in space if name != STRATEGY})
        return _Draws(view, together, others)

    def _tpe(self, trial: FrozenTrial, purpose: str) -> TPESampler:
        """A sampler with a random state of its own for this trial and purpose."""
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
    """What Optuna draws from, as a domain of ours."""
    names = ("choices",) if isinstance(distribution, CategoricalDistribution) else ("low", "high")
    return Domain.model_validate({name: getattr(distribution, name) for name in names})
