"""What to try next: a floor of trials for every strategy, contenders first, and TPE within each."""

from __future__ import annotations

import math
import warnings
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

STRATEGY = "strategy"
# Share of the budget that is spread evenly over the strategies; TPE spends the rest where it expects most.
FLOOR_SHARE = 0.6
# Trials of a strategy before TPE models it; the first is its default configuration.
STARTUP_TRIALS = 4
# A strategy is behind if its best score is below the leader's by more than so many standard errors of their difference.
BEHIND_ERRORS = 2.0


def strategy_floor(budget: int, strategies: int) -> int:
    """Trials that every strategy gets at least."""
    return max(1, math.ceil(FLOOR_SHARE * budget / strategies))


def noise(score: float, images: int) -> float:
    """How far apart two shares of right answers on so many images may be by chance (two binomial proportions)."""
    return BEHIND_ERRORS * math.sqrt(2 * max(score * (1 - score), 1 / images) / images)


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


@dataclass(frozen=True)
class _Draws:
    """A trial's parameters.

    Attributes:
        together: Those that are modelled, drawn jointly.
        others: Draws the rest: there are too few trials to learn from, or none that had the parameter.
    """

    together: dict[str, Any]
    others: RandomSampler


class StrategySampler(BaseSampler):
    """TPE (Bergstra et al. 2011) within each strategy, and a floor of trials for all of them.

    Every strategy has its floor by the end of the budget; those that are behind by more than chance wait for it until
    the others have theirs and nothing is left of the budget but what they are owed. So good scores are there early, and
    the verdict has what it needs.

    TPE splits trials into good and bad ones; among the trials of all strategies the good ones would be those of one
    strategy, and the others would learn nothing. So each is modelled on its own trials: what is learned about one
    never steers another (contract C7).

    What is drawn depends on the seed, the trial's number and the results so far, and not on the process that draws:
    a study that was interrupted goes on as it would have.

    Args:
        budget: Trials of the study.
        seed: Of the sampling.
        costs: Of a trial of each strategy, in any unit; alike if None.
        images: That scores come from, which tells what of them is chance; None if nobody is to wait.
    """

    def __init__(
        self, budget: int, *, seed: int, costs: Mapping[str, float] | None = None, images: int | None = None
    ) -> None:
        self._budget = budget
        self._costs = costs or {}
        self._images = images
        self._seed = seed
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
            due = self._due(study, trial, list(getattr(param_distribution, "choices", ())))
            if due is not None:
                return due
            return self._tpe(trial, param_name).sample_independent(study, trial, param_name, param_distribution)
        view = OneStrategy.of(study, trial.params[STRATEGY])
        if self._draws is None or self._draws[0] != trial.number:
            self._draws = trial.number, self._draw(view, trial)
        _, draws = self._draws
        if param_name in draws.together and _contains(param_distribution, draws.together[param_name]):
            return draws.together[param_name]
        return draws.others.sample_independent(view, trial, param_name, param_distribution)

    def _draw(self, view: Study, trial: FrozenTrial) -> _Draws:
        """Draw what the trial's strategy has been seen with, when the first of it is asked for."""
        strategy = trial.params[STRATEGY]
        tpe = self._tpe(trial, strategy)
        space = tpe.infer_relative_search_space(view, trial)
        together = tpe.sample_relative(view, trial, {name: space[name] for name in space if name != STRATEGY})
        return _Draws(together, RandomSampler(self._seed_of(trial, f"{strategy}/others")))

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

    def _due(self, study: Study, trial: FrozenTrial, strategies: list[str]) -> str | None:
        """The strategy whose floor is to be raised; None where TPE is to choose.

        Among those that are due it is the one on which least will have been spent after one more trial: what is cheap
        comes first. Where the budget is too small for all floors, nobody gets more than a fair share before the others
        have theirs.
        """
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        count = Counter(other.params.get(STRATEGY) for other in others)
        floor, fair_share = strategy_floor(self._budget, len(strategies)), self._budget // len(strategies)
        below = [name for name in strategies if count[name] < floor]
        due = [name for name in below if count[name] < fair_share] or below
        behind = self._behind(others)
        contending = [name for name in due if name not in behind]
        owed = sum(floor - count[name] for name in below)
        if not contending and self._budget - len(others) > owed:
            return None
        return min(contending or due, key=lambda name: (count[name] + 1) * self._costs.get(name, 1.0), default=None)

    def _behind(self, trials: list[FrozenTrial]) -> set[str]:
        """Strategies whose best score so far is below the leader's by more than chance."""
        if self._images is None:
            return set()
        best: dict[str, float] = {}
        for trial in trials:
            # A complete trial's value is the best of its reports.
            scores = trial.values or list(trial.intermediate_values.values())
            if scores and (strategy := trial.params.get(STRATEGY)) is not None:
                best[strategy] = max(*scores, best.get(strategy, -math.inf))
        leader = max(best.values(), default=0.0)
        return {name for name, score in best.items() if score < leader - noise(leader, self._images)}


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    return distribution._contains(distribution.to_internal_repr(value))
