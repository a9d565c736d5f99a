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
# Places of categories (N,), by trial.
_Places = NDArray[np.int64]


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
        self._ranks: list[_Rank] = []
        self._names: list[str] = []
        # By the number of a trial, one more than the place of its strategy's name; 0 where none has ended.
        self._ended = np.zeros(0, np.int64)

    def take(self, trial: FrozenTrial) -> None:
        if trial.state == TrialState.FAIL:
            return
        insort(self._ranks, _rank(trial))
        if trial.number >= len(self._ended):
            self._ended = _enlarged(self._ended, 2 * trial.number + 1)
        self._ended[trial.number] = self._code(trial)

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

    def _groups(self, number: int, strategies: Sequence[str]) -> tuple[_Places, _Places]:
        """Return the places of the strategies of the good trials and of the others, by number."""
        running = [each for each in self.others(number) if _runs(each)]
        last = max((each.number for each in running), default=0)
        codes = _enlarged(self._ended, max(len(self._ended), last + 1))
        for each in running:
            codes[each.number] = self._code(each)
        place = {name: at for at, name in enumerate(strategies)}
        places = np.array([-1, *(place.get(name, -1) for name in self._names)])[codes]
        most = min(math.ceil(_GOOD_SHARE * len(self._ranks)), _MOST_GOOD)
        good = np.zeros(len(codes), np.bool_)
        good[[rank[-1] for rank in self._ranks[:most]]] = True
        return places[(places >= 0) & good], places[(places >= 0) & ~good]

    def _code(self, trial: FrozenTrial) -> int:
        """Return one more than the place of the name of a trial's strategy, or 0 where it has none."""
        name = trial.params.get(STRATEGY)
        if name is None:
            return 0
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name) + 1


def choose_category(good: _Places, bad: _Places, count: int, rng: np.random.RandomState) -> int:
    """Return the category that TPE chooses, draw by draw as Optuna does.

    Args:
        good: Categories of the good trials (N,), in the order of the trials.
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

    def __init__(self, places: _Places, count: int) -> None:
        known = len(places)
        ramp = np.linspace(1 / known, 1, max(0, known - _RECENT)) if known else np.ones(0)
        weights = np.concatenate([ramp, np.ones(min(known, _RECENT) + 1)])
        self._weights = weights / weights.sum()
        # Of each trial the number of its kernel: those of one category are equal. The last kernel is the prior.
        self._kinds = np.append(places, count)
        kernels = np.full((count + 1, count), 1 / (known + 1)) + np.eye(count + 1, count)
        self._kernels = kernels / kernels.sum(axis=1, keepdims=True)

    def density(self) -> NDArray[np.float64]:
        """Return the probability of each category."""
        return np.bincount(self._kinds, self._weights, len(self._kernels)) @ self._kernels

    def draw(self, rng: np.random.RandomState) -> NDArray[np.int64]:
        """Draw candidates (24,), as Optuna does: a kernel, then a category of it."""
        chosen = self._kernels[self._kinds[rng.choice(len(self._weights), p=self._weights, size=_CANDIDATES)]]
        below = np.cumsum(chosen, axis=1)[:, :-1] < rng.rand(_CANDIDATES)[:, np.newaxis]
        return below.sum(axis=1)


def _log_ratios(good: _Mixture, bad: _Mixture) -> NDArray[np.float64]:
    # Rounded: equal categories are the same on every machine.
    ratios: NDArray[np.float64] = np.log(good.density() / bad.density())
    return ratios.round(9)


def _enlarged(values: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return a copy with zeros behind it."""
    return np.concatenate([values, np.zeros(size - len(values), np.int64)])


def _runs(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING


def _rank(trial: FrozenTrial) -> _Rank:
    if trial.state == TrialState.COMPLETE:
        return False, -trial.values[0], 0.0, trial.number
    if not trial.intermediate_values:
        return True, 1.0, 0.0, trial.number
    step, score = max(trial.intermediate_values.items())
    return True, -step, math.inf if math.isnan(score) else -score, trial.number
