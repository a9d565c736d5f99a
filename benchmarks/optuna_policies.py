"""Policies that ask Optuna: today's rule of Frostline, and TPE over all strategies as users of Optuna have it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from benchmarks.arms import Arms, Configuration
from benchmarks.policies import Clock, pulls
from frostline.objectives.strategies import STRATEGIES
from frostline.search.records import STRATEGY, TrialRecord
from frostline.search.sampling import BudgetAllocation, StrategySampler
from frostline.search.sampling.strategy_choice import choose_category
from frostline.search.space import Domain, optuna_name

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class FloorOfTrials:
    """Frostline's rule of today: floors of trials for all strategies, then TPE between them.

    Today a budget is a number of trials. Here it is as many as fit into the seconds: those that ended, and those that
    the seconds left buy at their mean price. The prices that put cheap strategies first are those measured so far,
    which are better than the estimates of a search that has not started.

    Args:
        seed: Seed of the sampler.
        images: Number of validation images; None if no strategy counts as behind.
    """

    def __init__(self, seed: int, images: int | None) -> None:
        self._seed = seed
        self._images = images
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed))

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        for record in history[len(self._study.get_trials(deepcopy=False)) :]:
            self._study.add_trial(_finished(record, strategies))
        started = create_trial(state=TrialState.RUNNING)
        started.number = len(history)
        sampler = StrategySampler(self._allocation(history, strategies, clock), seed=self._seed)
        return sampler.sample_independent(self._study, started, STRATEGY, CategoricalDistribution(list(strategies)))

    def _allocation(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> BudgetAllocation:
        known = pulls(history, strategies)
        further = round(clock.left * len(history) / clock.spent) if clock.spent else len(strategies)
        return BudgetAllocation(
            len(history) + max(1, further),
            {name: own.price for name, own in known.items() if own.trials},
            [name for name in strategies if not STRATEGIES[name].pretrained],
            self._images,
        )


class CategoryTPE:
    """The strategy as Optuna's TPE samples it from the trials of all strategies, in closed form.

    Of all parameters, only the strategy is one that all trials have; so TPE models it by itself (Bergstra et al. 2011;
    Optuna 5, ``TPESampler`` with its defaults). For a single category its two densities are weighted counts. This takes
    a hundredth of the time of :class:`CombinedTPE`; tests compare them.

    Args:
        seed: Seed of the draws.
    """

    _STARTUP = 10

    def __init__(self, seed: int) -> None:
        self._rng = np.random.RandomState(seed)

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        ranked = sorted((trial for trial in history if trial.state != "failed"), key=_rank)
        if len(ranked) < self._STARTUP:
            return strategies[self._rng.randint(len(strategies))]
        good = min(math.ceil(0.1 * len(ranked)), 25)
        better, worse = (_places(trials, strategies) for trials in (ranked[:good], ranked[good:]))
        return strategies[choose_category(better, worse, len(strategies), self._rng)]


def _places(trials: Sequence[TrialRecord], strategies: Sequence[str]) -> NDArray[np.int64]:
    """Return the places of the trials' strategies (N,), by number."""
    ordered = sorted(trials, key=lambda trial: trial.number)
    return np.array([strategies.index(str(trial.strategy)) for trial in ordered], np.int64)


def _rank(trial: TrialRecord) -> tuple[int, float, float]:
    """Return what TPE sorts by: complete trials by score, then pruned ones by their epochs and last score."""
    if trial.state == "complete":
        return 0, -(trial.score or 0.0), 0.0
    return 1, -len(trial.curve), -(trial.score or 0.0)


# Parameters that TPE suggests in a replay: those that matter most. It suggests the strategy first, from all trials,
# whatever the others are.
SUGGESTED = ("learning_rate", "backbone_lr_ratio", "freeze_depth", "optimizer")


class CombinedTPE:
    """TPE over all strategies in one study, as users of Optuna have it: the strategy is a category like any other.

    A replay has recorded configurations only: of those that are unused, the nearest one to what TPE suggests is
    trained. Distances are of values scaled to [0, 1], on a logarithmic scale where the range has several powers of ten;
    another category has the distance 1.

    Args:
        arms: What is searched.
        seed: Seed of the sampler.
    """

    def __init__(self, arms: Arms, seed: int) -> None:
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._domains = {name: _domains(own) for name, own in arms.configurations.items()}
        self._asked: optuna.Trial | None = None
        self._suggested: dict[str, Any] = {}

    def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
        if self._asked is not None:
            self._tell(self._asked, history[-1])
        self._asked = self._study.ask()
        strategy = str(self._asked.suggest_categorical(STRATEGY, list(strategies)))
        self._suggested = {
            name: domain.suggest(self._asked, optuna_name(strategy, name), integer=False)
            for name, domain in self._domains[strategy].items()
        }
        return strategy

    def pick(self, strategy: str, unused: Sequence[Configuration]) -> Configuration:
        def distance(configuration: Configuration) -> float:
            config = configuration.trial.config
            return sum(
                _apart(domain, config[name], self._suggested[name]) ** 2
                for name, domain in self._domains[strategy].items()
            )

        return min(unused, key=distance)

    def _tell(self, asked: optuna.Trial, record: TrialRecord) -> None:
        state = STATES[record.state]
        if record.curve:
            # TPE ranks pruned trials by their last epoch.
            asked.report(record.curve[len(record.curve) - 1], len(record.curve) - 1)
        self._study.tell(asked, record.score if state == TrialState.COMPLETE else None, state)


def _domains(configurations: Sequence[Configuration]) -> dict[str, Domain]:
    """Return the domains of the suggested parameters that the recorded configurations have and vary."""
    configs = [configuration.trial.config for configuration in configurations]
    domains = {}
    for name in SUGGESTED:
        values = sorted({config[name] for config in configs if config.get(name) is not None})
        if len(values) < 2 or any(config.get(name) is None for config in configs):
            continue
        if isinstance(values[0], str):
            domains[name] = Domain(choices=tuple(values))
        else:
            low, high = float(values[0]), float(values[-1])
            domains[name] = Domain(low=low, high=high, log=low > 0 and high / low > 30)
    return domains


def _apart(domain: Domain, one: Any, other: Any) -> float:
    """Return the distance of two values, in [0, 1]."""
    if domain.low is None or domain.high is None:
        return float(one != other)
    if domain.log:
        return abs(math.log(one / other)) / math.log(domain.high / domain.low)
    return abs(one - other) / (domain.high - domain.low)


def _finished(record: TrialRecord, strategies: Sequence[str]) -> FrozenTrial:
    """Return a trial that ended as Optuna keeps it; the strategy is its only parameter."""
    state = STATES[record.state]
    return create_trial(
        state=state,
        value=record.score if state == TrialState.COMPLETE else None,
        params={STRATEGY: record.strategy},
        distributions={STRATEGY: CategoricalDistribution(list(strategies))},
        intermediate_values=record.curve,
    )
