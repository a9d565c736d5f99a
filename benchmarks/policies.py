"""Policies of a search: which strategy gets the next trial.

A policy knows the trials that ended, the strategies and the clock. It draws from its own random state only, so its
choices are a function of its seed and of what happened. Each gives every strategy its first trial (the default
configuration) before any gets a second one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from scipy.special import ndtri

from frostline.search.records import TrialRecord


class Clock(NamedTuple):
    """Seconds that a search has spent, and those that it may spend."""

    spent: float
    budget: float

    @property
    def left(self) -> float:
        return max(0.0, self.budget - self.spent)


class Policy(Protocol):
    """Decides which strategy gets the next trial."""

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        """Return the strategy of the next trial.

        Args:
            history: Trials that ended, in their order.
            strategies: Names of the strategies.
            clock: Seconds spent and left.
        """
        ...


@dataclass(frozen=True)
class Pulls:
    """What is known of a strategy.

    Attributes:
        scores: Best validation score of each trial that did not fail, in their order.
        trials: Number of trials, with those that failed.
        seconds: Seconds that they took.
    """

    scores: tuple[float, ...]
    trials: int
    seconds: float

    @property
    def best(self) -> float:
        """Highest score; minus infinity if there is none."""
        return max(self.scores, default=-math.inf)

    @property
    def price(self) -> float:
        """Mean seconds of a trial."""
        return self.seconds / self.trials


def pulls(history: Sequence[TrialRecord], strategies: Sequence[str]) -> dict[str, Pulls]:
    """Return what is known of each strategy."""
    scores: dict[str, list[float]] = {name: [] for name in strategies}
    trials, seconds = dict.fromkeys(strategies, 0), dict.fromkeys(strategies, 0.0)
    for trial in history:
        name = str(trial.strategy)
        trials[name] += 1
        seconds[name] += trial.seconds or 0.0
        if trial.state == "complete" and trial.score is not None:
            scores[name].append(trial.score)
        elif trial.state == "pruned" and trial.curve:
            scores[name].append(max(trial.curve.values()))
    return {name: Pulls(tuple(scores[name]), trials[name], seconds[name]) for name in strategies}


def untried(history: Sequence[TrialRecord], strategies: Sequence[str]) -> str | None:
    """Return the first strategy that has no trial yet; None if all have."""
    tried = {trial.strategy for trial in history}
    return next((name for name in strategies if name not in tried), None)


def least_seconds(known: Mapping[str, Pulls]) -> str:
    """Return the strategy that spent the fewest seconds: what is cheap is tried often."""
    return min(known, key=lambda name: known[name].seconds)


def noise(score: float, images: int) -> float:
    """Return the standard error of an accuracy on so many images (binomial, with half a wrong image for certainty)."""
    return math.sqrt(max(score * (1 - score), 0.5 / images) / images)


class RandomChoice:
    """Chooses at random, each strategy as probably as another."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        return untried(history, strategies) or strategies[int(self._rng.integers(len(strategies)))]


class EqualTrials:
    """Gives every strategy as many trials as the others."""

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        known = pulls(history, strategies)
        return min(strategies, key=lambda name: known[name].trials)


class EqualSeconds:
    """Gives every strategy as many seconds as the others."""

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        return untried(history, strategies) or least_seconds(pulls(history, strategies))


class SecondsFloor:
    """Divides a share of the budget evenly among the strategies, in seconds; another policy spends the rest.

    Args:
        share: Share of the budget, in [0, 1].
        rest: Chooses once all strategies had their seconds.
    """

    def __init__(self, share: float, rest: Policy) -> None:
        self._share = share
        self._rest = rest

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        floor = self._share * clock.budget / len(strategies)
        due = {name: own for name, own in pulls(history, strategies).items() if own.seconds < floor}
        if first := untried(history, strategies):
            return first
        return least_seconds(due) if due else self._rest.choose(history, strategies, clock)


class MaxUCB:
    """Highest score and a bonus that shrinks with the square of the trials (Balef et al. 2025, arXiv 2505.05226).

    Args:
        alpha: Weight of the bonus; the paper's is 0.5. Scores are scaled to [0, 1] by the lowest and highest one.
    """

    def __init__(self, alpha: float = 0.5) -> None:
        self._alpha = alpha

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if first := untried(history, strategies):
            return first
        known = pulls(history, strategies)
        scores = [score for own in known.values() for score in own.scores] or [0.0]
        low, width = min(scores), (max(scores) - min(scores)) or 1.0
        bonus = self._alpha * math.log(len(history))
        return max(known, key=lambda name: (known[name].best - low) / width + (bonus / known[name].trials) ** 2)


class RisingBandit:
    """Drops strategies that cannot catch up if they rise as fast as they did (Li et al. 2020, arXiv 2012.04371).

    A strategy's best score rises with its trials, ever more slowly. So its recent slope bounds what it can reach with
    the seconds left. Strategies that may still win get equal seconds.

    Args:
        window: Number of trials over which the slope is measured.
    """

    def __init__(self, window: int = 7) -> None:
        self._window = window

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if first := untried(history, strategies):
            return first
        known = pulls(history, strategies)
        leader = max(own.best for own in known.values())
        bounds = {name: self._bound(own, clock) for name, own in known.items()}
        return least_seconds({name: own for name, own in known.items() if own.best >= leader or bounds[name] > leader})

    def _bound(self, own: Pulls, clock: Clock) -> float:
        if len(own.scores) <= self._window:
            return math.inf
        slope = (own.best - max(own.scores[: -self._window])) / self._window
        return own.best + slope * clock.left / own.price


class SuccessiveRejects:
    """Drops the strategy with the lowest best score after each phase (Audibert et al. 2010), phases in seconds.

    Args:
        share: Share of the budget for the phases; the winner gets the rest.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._share = share

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if first := untried(history, strategies):
            return first
        remaining = pulls(history, strategies)
        for target in self._targets(len(strategies), clock.budget):
            if any(own.seconds < target for own in remaining.values()):
                return least_seconds(remaining)
            del remaining[min(remaining, key=lambda name: remaining[name].best)]
        return next(iter(remaining))

    def _targets(self, strategies: int, budget: float) -> list[float]:
        """Return the seconds that each remaining strategy has at the end of each phase."""
        scale = 0.5 + sum(1 / place for place in range(2, strategies + 1))
        return [self._share * budget / scale / (strategies + 1 - phase) for phase in range(1, strategies)]


class MaxBelief:
    """Draws of the best score that a strategy reaches with so many further trials.

    Scores of trials are taken as normal, with a normal-inverse-gamma prior: the mean of all strategies' scores counts
    as one trial. The best of n further trials is drawn from their predicted distribution; prices, in seconds, say how
    many trials can be had (Balef et al. 2025, arXiv 2508.13657: posterior sampling of the maximum, with costs).

    Args:
        seed: Seed of the draws.
        seconds: Seconds to spend on a strategy, from the clock and the number of strategies.
    """

    def __init__(self, seed: int, seconds: Callable[[Clock, int], float]) -> None:
        self._rng = np.random.default_rng(seed)
        self._seconds = seconds

    def draw(self, known: Mapping[str, Pulls], clock: Clock) -> dict[str, float]:
        """Return a draw for each strategy."""
        seconds = self._seconds(clock, len(known))
        scores = np.array([score for own in known.values() for score in own.scores] or [0.0])
        center, spread = float(scores.mean()), float(scores.var()) or 1e-4
        return {name: self._draw(own, center, spread, seconds) for name, own in known.items()}

    def _draw(self, own: Pulls, center: float, spread: float, seconds: float) -> float:
        scores = np.array(own.scores)
        count = len(scores)
        mean = (center + scores.sum()) / (1 + count)
        squares = float(((scores - scores.mean()) ** 2).sum()) if count else 0.0
        shift = count / (1 + count) * (scores.mean() - center) ** 2 if count else 0.0
        variance = (spread + 0.5 * (squares + shift)) / self._rng.gamma(1.5 + count / 2)
        trials = max(1.0, seconds / own.price)
        level = mean + self._rng.standard_normal() * math.sqrt(variance / (1 + count))
        reached = level + math.sqrt(variance) * float(ndtri(self._rng.random() ** (1 / trials)))
        return min(1.0, max(own.best, reached))


def all_left(clock: Clock, strategies: int) -> float:
    """Return all seconds that are left: what a strategy could reach if it got them."""
    return clock.left


def fair_share(clock: Clock, strategies: int) -> float:
    """Return an equal share of the seconds that are left."""
    return clock.left / strategies


class PosteriorMax:
    """Chooses the strategy with the highest draw of what it could reach (arXiv 2508.13657, see :class:`MaxBelief`).

    Args:
        seed: Seed of the draws.
        seconds: Seconds with which a strategy could reach it.
    """

    def __init__(self, seed: int, seconds: Callable[[Clock, int], float] = all_left) -> None:
        self._belief = MaxBelief(seed, seconds)

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if first := untried(history, strategies):
            return first
        draws = self._belief.draw(pulls(history, strategies), clock)
        return max(draws, key=lambda name: draws[name])


class TopTwo:
    """Spends the seconds between the leader of a draw and its strongest challenger (Russo 2016, top-two sampling).

    What decides is which of the two is better. The challenger is the winner of the next draw that has another one; of
    both, the one with fewer seconds gets the trial.

    Args:
        seed: Seed of the draws.
        seconds: Seconds with which a strategy could reach what is drawn.
    """

    _DRAWS = 20

    def __init__(self, seed: int, seconds: Callable[[Clock, int], float] = fair_share) -> None:
        self._belief = MaxBelief(seed, seconds)

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if first := untried(history, strategies):
            return first
        known = pulls(history, strategies)
        winners: dict[str, None] = {}
        for _ in range(self._DRAWS):
            draws = self._belief.draw(known, clock)
            winners[max(draws, key=lambda name: draws[name])] = None
            if len(winners) == 2:
                break
        return least_seconds({name: known[name] for name in winners})


class Race:
    """Equal seconds for all strategies that are not behind by more than chance.

    A strategy is behind if its best score trails the leader's by more than so many standard errors of the difference,
    once it has spent its share of the seconds; what it has left goes to the others.

    Args:
        images: Number of validation images, from which the chance in scores follows.
        margin: Number of standard errors.
        share: Share of an equal division of the budget, in seconds, that every strategy gets.
    """

    def __init__(self, images: int, margin: float = 1.0, share: float = 0.3) -> None:
        self._images = images
        self._margin = margin
        self._share = share

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if first := untried(history, strategies):
            return first
        known = pulls(history, strategies)
        floor = self._share * clock.budget / len(strategies)
        leader = max(own.best for own in known.values())
        bar = leader - self._margin * math.sqrt(2) * noise(leader, self._images)
        racing = {name: own for name, own in known.items() if own.seconds < floor or own.best >= bar}
        return least_seconds(racing)
