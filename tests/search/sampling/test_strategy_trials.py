"""The trials of a strategy, kept up to date: the same as looking through all trials again."""

from __future__ import annotations

import copy
from collections.abc import Container

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers._tpe.sampler import default_gamma
from optuna.trial import FrozenTrial, TrialState, create_trial

from frostline.search.records import STRATEGY
from frostline.search.sampling.strategy_trials import BEST, MODELED, StrategyTrials

NAMES = ["full", "scratch"]
STATES = [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING, TrialState.WAITING]
ASKED = [None, (TrialState.COMPLETE,), (TrialState.COMPLETE, TrialState.PRUNED), (TrialState.RUNNING,)]


def make_trial(
    number: int, score: float, state: TrialState = TrialState.COMPLETE, strategy: str = "full"
) -> FrozenTrial:
    """A trial that has a strategy, and a score if it is complete."""
    trial = create_trial(
        state=state,
        value=score if state == TrialState.COMPLETE else None,
        params={STRATEGY: strategy},
        distributions={STRATEGY: CategoricalDistribution(NAMES)},
    )
    trial.number = number
    return trial


def looked_through(
    trials: list[FrozenTrial], strategy: str, states: Container[TrialState] | None, most: int | None
) -> list[FrozenTrial]:
    """What is asked for, from all trials at once."""
    own = [trial for trial in trials if trial.params[STRATEGY] == strategy]
    own = [trial for trial in own if states is None or trial.state in states]
    if most is None or len(own) <= most:
        return own
    complete = [trial for trial in own if trial.state == TrialState.COMPLETE]
    best = sorted(complete, key=lambda trial: (-trial.values[0], trial.number))[:BEST]
    others = [trial for trial in own if trial not in best]
    return sorted(best + others[len(best) - most :], key=lambda trial: trial.number)


def test_of_many_trials_the_best_and_the_latest_are_modeled() -> None:
    rng = np.random.default_rng(0)
    trials = [make_trial(number, float(rng.random())) for number in range(900)]
    own = StrategyTrials("full")
    own.update(trials[:MODELED])
    assert own.select(None, MODELED) == trials[:MODELED]
    own.update(trials)
    kept = own.select(None, MODELED)
    numbers = [each.number for each in kept]
    assert numbers == sorted(numbers)
    assert len(kept) == MODELED
    best = sorted(trials, key=lambda each: -each.values[0])[:BEST]
    assert {each.number for each in best} <= set(numbers)
    assert set(range(900 - MODELED + BEST, 900)) <= set(numbers)
    # The best of those that are modeled are the best of all: what TPE takes for good is the same.
    assert default_gamma(len(kept)) == BEST


def numbers_of(trials: list[FrozenTrial], most: int) -> list[int]:
    own = StrategyTrials("full")
    own.update(trials)
    return [trial.number for trial in own.select(None, most)]


def test_all_but_the_best_25_give_way_to_the_latest_whatever_they_scored() -> None:
    # The best are the first 25, of equals the earlier; then come pruned, failed and running ones.
    good = [make_trial(number, 0.9) for number in range(30)]
    bad = [make_trial(30 + place, 0.1) for place in range(10)]
    states = (TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)
    others = [make_trial(40 + place, 0.0, state) for place, state in enumerate(states)]
    trials = [*good, *bad, *others]
    assert numbers_of(trials, 43) == list(range(43))
    for most in (27, 30, 42):
        assert numbers_of(trials, most) == [*range(25), *range(43 - (most - 25), 43)]


def test_fewer_complete_trials_than_25_all_stay() -> None:
    running = [make_trial(number, 0.0, TrialState.RUNNING) for number in range(20)]
    complete = [make_trial(20 + number, 0.5) for number in range(3)]
    later = [make_trial(23 + number, 0.0, TrialState.RUNNING) for number in range(5)]
    assert numbers_of([*running, *complete, *later], 10) == list(range(18, 28))


def test_pruned_trials_are_none_of_the_best_though_optuna_keeps_a_value_of_theirs() -> None:
    pruned = [make_trial(number, 0.0, TrialState.PRUNED) for number in range(10)]
    for trial in pruned:
        trial.values = [0.99]
    trials = [*pruned, *(make_trial(10 + place, 0.5 + place / 100) for place in range(30))]
    assert numbers_of(trials, 25) == list(range(15, 40))


@pytest.mark.parametrize("seed", range(6))
def test_after_any_changes_they_are_those_of_all_trials(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kept = {name: StrategyTrials(name) for name in NAMES}

    def drawn(number: int) -> FrozenTrial:
        # Few scores: some are equal.
        score, strategy = float(rng.integers(20)), str(rng.choice(NAMES))
        return make_trial(number, score, STATES[rng.choice(5, p=[0.6, 0.1, 0.1, 0.1, 0.1])], strategy)

    trials: list[FrozenTrial] = []
    for _ in range(12):
        for place in rng.integers(len(trials), size=3) if trials else ():
            # Changed, and another object, as storages do; even trials that had ended, which another worker took over.
            trials[place] = drawn(trials[place].number)
        # Some numbers come late.
        numbers = {trial.number for trial in trials}
        new = [number for number in range(len(trials) + 15) if number not in numbers and rng.random() < 0.9]
        trials = sorted([*trials, *map(drawn, new)], key=lambda trial: trial.number)
        for name, own in kept.items():
            # One that is not asked for some time catches up.
            if rng.random() < 0.6:
                own.update(list(trials))
                for states in ASKED:
                    for most in (None, 30, 60):
                        expected = looked_through(trials, name, states, most)
                        found = own.select(states, most)
                        assert [id(trial) for trial in found] == [id(trial) for trial in expected]


def test_trials_of_another_study_replace_those_of_the_first() -> None:
    own = StrategyTrials("full")
    first = [make_trial(number, 0.5) for number in range(5)]
    own.update(first)
    second = copy.deepcopy(first[:3])
    own.update(second)
    assert [id(trial) for trial in own.select(None, None)] == [id(trial) for trial in second]
