"""The choice of the strategy by TPE, in closed form: for one categorical parameter, its densities are weighted counts.

Optuna's sampler goes through all trials in Python at each choice, which takes the longer the more there are.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from ..records import STRATEGY
from .ended_trials import EndedTrials

# Of TPE: the share and the most of the trials that are good, candidates to draw, latest trials of full weight.
_GOOD_SHARE, _MOST_GOOD, _CANDIDATES, _RECENT = 0.1, 25, 24, 25
# A trial's rank, the best first: those that are complete, by score; then pruned ones, by their last step and score.
_Rank = tuple[bool, float, float, int]


class StrategyChoice(EndedTrials):
    """Chooses the strategy of a trial as Optuna's TPE does that takes running trials for bad ones.

    TPE (Bergstra et al. 2011; Optuna 5, ``TPESampler``) models the strategies of the good trials and of the others,
    and takes, of some that the good ones suggest, the one with the highest ratio. All trials count: from the latest
    alone, the better of two near strategies is chosen less often.

    Args:
        startup: Number of trials with a score before TPE chooses; until then the draw is uniform.
    """

    def __init__(self, startup: int) -> None:
        super().__init__()
        self._startup = startup
        self.forget()

    def forget(self) -> None:
        self._strategies: dict[int, str | None] = {}
        self._ranks: list[_Rank] = []

    def take(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.FAIL:
            return
        self._strategies[trial.number] = trial.params.get(STRATEGY)
        insort(self._ranks, _rank(trial))

    def choose(self, number: int, strategies: Sequence[str], seed: int) -> str:
        """Return the strategy of a trial.

        Args:
            number: Number of the trial.
            strategies: Names of the strategies to choose from.
            seed: Seed of the draws, of which the result is a function.
        """
        rng = np.random.RandomState(seed)
        if len(self._ranks) < self._startup:
            return strategies[rng.randint(len(strategies))]
        return strategies[choose_category(*self._groups(number, strategies), len(strategies), rng)]

    def log_ratios(self, number: int, strategies: Sequence[str]) -> dict[str, float]:
        """Return the logarithm of the ratio of good to bad trials by strategy, for a trial."""
        count = len(strategies)
        ratios = _log_ratios(*(_Mixture(group, count) for group in self._groups(number, strategies)))
        return dict(zip(strategies, ratios.tolist(), strict=True))

    def _groups(self, number: int, strategies: Sequence[str]) -> tuple[list[int], list[int]]:
        """Return the places of the strategies of the good trials and of the others, by number."""
        most = min(math.ceil(_GOOD_SHARE * len(self._ranks)), _MOST_GOOD)
        best = {rank[-1] for rank in self._ranks[:most]}
        running = {each.number: each.params.get(STRATEGY) for each in self.others(number) if _runs(each)}
        every = sorted((self._strategies | running).items())
        place = {name: at for at, name in enumerate(strategies)}
        known = [(at in best, place[name]) for at, name in every if name in place]
        return [at for is_good, at in known if is_good], [at for is_good, at in known if not is_good]


def choose_category(good: Sequence[int], bad: Sequence[int], count: int, rng: np.random.RandomState) -> int:
    """Return the category that TPE chooses, draw by draw as Optuna does.

    Args:
        good: Categories of the good trials, in the order of the trials.
        bad: Those of the others.
        count: Number of categories.
        rng: Draws the candidates.
    """
    models = _Mixture(good, count), _Mixture(bad, count)
    candidates = models[0].draw(rng)
    return int(candidates[np.argmax(_log_ratios(*models)[candidates])])


class _Mixture:
    """A Parzen estimator of a categorical parameter: a kernel for each trial, old ones with less weight, and a prior.

    Args:
        places: The categories of the trials, in their order.
        count: Number of categories.
    """

    def __init__(self, places: Sequence[int], count: int) -> None:
        known = len(places)
        ramp = np.linspace(1 / known, 1, max(0, known - _RECENT)) if known else np.ones(0)
        weights = np.concatenate([ramp, np.ones(min(known, _RECENT) + 1)])
        kernels = np.full((known + 1, count), 1 / (known + 1))
        kernels[np.arange(known), places] += 1
        self._weights = weights / weights.sum()
        self._kernels = kernels / kernels.sum(axis=1, keepdims=True)

    def density(self) -> NDArray[np.float64]:
        """Return the probability of each category."""
        return self._weights @ self._kernels

    def draw(self, rng: np.random.RandomState) -> NDArray[np.int64]:
        """Draw candidates (24,), as Optuna does: a kernel, then a category of it."""
        chosen = self._kernels[rng.choice(len(self._weights), p=self._weights, size=_CANDIDATES)]
        below = np.cumsum(chosen, axis=1)[:, :-1] < rng.rand(_CANDIDATES)[:, np.newaxis]
        return below.sum(axis=1)


def _log_ratios(good: _Mixture, bad: _Mixture) -> NDArray[np.float64]:
    # Rounded: equal categories are the same on every machine.
    ratios: NDArray[np.float64] = np.log(good.density() / bad.density())
    return ratios.round(9)


def _runs(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING


def _rank(trial: FrozenTrial) -> _Rank:
    if trial.state == TrialState.COMPLETE:
        return False, -trial.values[0], 0.0, trial.number
    if not trial.intermediate_values:
        return True, 1.0, 0.0, trial.number
    step, score = max(trial.intermediate_values.items())
    return True, -step, math.inf if math.isnan(score) else -score, trial.number
