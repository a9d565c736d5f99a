"""Policies and stopping rules: what every one of them holds to, and that those of Optuna decide as Optuna does."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.optuna_policies import CategoryTPE, FloorOfTrials
from benchmarks.policies import (
    Clock,
    EqualSeconds,
    EqualTrials,
    MaxUCB,
    Policy,
    PosteriorMax,
    Race,
    RandomChoice,
    RisingBandit,
    SecondsFloor,
    SuccessiveRejects,
    TopTwo,
)
from benchmarks.stopping_rules import STRATEGY_MEDIAN, FixedEpochs, MedianRule, StoppingRule, SuccessiveHalving
from frostline.search.records import STRATEGY, TrialRecord
from frostline.search.sampling import StrategyPruner

STRATEGIES = ["feature_extraction", "partial", "full", "lp_ft", "scratch"]
PRICES = dict(zip(STRATEGIES, (0.5, 3.0, 9.0, 4.0, 8.0), strict=True))
# From a seed; each spends a budget in seconds.
POLICIES: dict[str, Callable[[int], Policy]] = {
    "random": RandomChoice,
    "equal trials": lambda seed: EqualTrials(),
    "equal seconds": lambda seed: EqualSeconds(),
    "floor of trials": lambda seed: FloorOfTrials(seed, 100),
    "floor of seconds": lambda seed: SecondsFloor(0.5, MaxUCB()),
    "MaxUCB": lambda seed: MaxUCB(),
    "posterior maximum": PosteriorMax,
    "top two": TopTwo,
    "rising bandit": lambda seed: RisingBandit(window=3),
    "successive rejects": lambda seed: SuccessiveRejects(),
    "race": lambda seed: Race(100),
}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def spend(policy: Policy, budget: float, seed: int, *, fails: float = 0.1) -> list[TrialRecord]:
    """Search with prices of strategies, random scores and some failures."""
    rng = np.random.default_rng(seed)
    history: list[TrialRecord] = []
    spent = 0.0
    while spent < budget:
        strategy = policy.choose(history, STRATEGIES, Clock(spent, budget))
        score = float(rng.beta(8, 2))
        states = {"complete": score, "pruned": score, "failed": None}
        state = str(rng.choice(list(states), p=[0.8 * (1 - fails), 0.2 * (1 - fails), fails]))
        seconds = PRICES[strategy] * float(rng.uniform(0.5, 1.5))
        curve = {0: score / 2, 1: score}
        history.append(TrialRecord(len(history), state, strategy, {}, states[state], curve, seconds))
        spent += seconds
    return history


@pytest.mark.parametrize("name", POLICIES)
@settings(deadline=None, max_examples=5)
@given(seed=st.integers(0, 1000))
def test_a_search_is_a_function_of_its_seed_and_tries_every_strategy_first(name: str, seed: int) -> None:
    history, again = (spend(POLICIES[name](seed), 120.0, seed) for _ in range(2))
    assert history == again
    # Today's rule gives the control, scratch, its first trial after the others' floors.
    first = history if name == "floor of trials" else history[: len(STRATEGIES)]
    assert {trial.strategy for trial in first} == set(STRATEGIES)


@pytest.mark.parametrize("name", POLICIES)
def test_a_search_whose_trials_all_fail_goes_on(name: str) -> None:
    assert len(spend(POLICIES[name](0), 100.0, 0, fails=1.0)) >= len(STRATEGIES)


@settings(deadline=None, max_examples=20)
@given(share=st.floats(0.1, 1.0), budget=st.floats(60, 400), seed=st.integers(0, 1000))
def test_every_strategy_gets_its_floor_in_seconds(share: float, budget: float, seed: int) -> None:
    class Last:
        def choose(self, history: Sequence[TrialRecord], strategies: Sequence[str], clock: Clock) -> str:
            return strategies[-1]

    history = spend(SecondsFloor(share, Last()), budget, seed)
    seconds = dict.fromkeys(STRATEGIES, 0.0)
    for trial in history:
        seconds[str(trial.strategy)] += trial.seconds or 0.0
    floor = share * budget / len(STRATEGIES)
    longest = 1.5 * max(PRICES.values())
    # The trials that pass the floor, and the last one, may take seconds from those that come later.
    assert min(seconds.values()) >= min(floor, (budget - len(STRATEGIES) * longest) / len(STRATEGIES))
    rest = seconds[STRATEGIES[-1]]
    assert all(seconds[name] <= floor + 1.5 * PRICES[name] for name in STRATEGIES[:-1])
    assert rest >= budget - sum(seconds[name] for name in STRATEGIES[:-1])


def test_equal_seconds_try_what_is_cheap_often() -> None:
    trials = Counter(trial.strategy for trial in spend(EqualSeconds(), 600.0, 0))
    assert trials["feature_extraction"] == pytest.approx(120 / 0.5, rel=0.15)
    assert trials["full"] == pytest.approx(120 / 9, rel=0.25)


def record(number: int, strategy: str, score: float, seconds: float = 1.0, state: str = "complete") -> TrialRecord:
    return TrialRecord(number, state, strategy, {}, score, {0: score}, seconds)


def test_max_ucb_is_the_papers_formula() -> None:
    # Scaled to [0, 1]: bests 1 and 0.5. After 4 trials the bonus is (0.5 log 4 / n)^2: 0.053 and 0.48.
    history = [record(0, "full", 0.9), record(1, "full", 0.8), record(2, "full", 0.7), record(3, "partial", 0.8)]
    assert MaxUCB(alpha=0.5).choose(history, ["full", "partial"], Clock(4, 100)) == "full"
    # With 0.8: 0.137 and 1.23.
    assert MaxUCB(alpha=0.8).choose(history, ["full", "partial"], Clock(4, 100)) == "partial"


def test_successive_rejects_drop_the_worst_after_its_phase() -> None:
    scores = dict(zip(STRATEGIES, (0.5, 0.9, 0.8, 0.7, 0.6), strict=True))
    history: list[TrialRecord] = []
    policy = SuccessiveRejects()
    while len(history) < 100:
        strategy = policy.choose(history, STRATEGIES, Clock(len(history), 100))
        history.append(record(len(history), strategy, scores[strategy]))
    count = Counter(trial.strategy for trial in history)
    # Seconds of the remaining: 100 / (1.783 (6 - k)) in phase k, where 1.783 = 1/2 + 1/2 + 1/3 + 1/4 + 1/5:
    # 11.2, 14.0, 18.7, and 28.0 for the last two, which share the 54 that are left.
    assert [count[name] for name in sorted(STRATEGIES, key=lambda name: scores[name])] == [12, 15, 19, 27, 27]


def test_a_rising_bandit_drops_what_cannot_catch_up() -> None:
    history = [record(number, "full", 0.9) for number in range(4)]
    history += [record(4 + number, "partial", 0.5) for number in range(4)]
    policy = RisingBandit(window=3)
    # Flat at 0.5: out, although it spent fewer seconds.
    assert policy.choose([*history, record(8, "full", 0.9)], ["full", "partial"], Clock(9, 100)) == "full"
    # It rose by 0.1 a trial: with 91 further trials it may win.
    rising = [record(4 + number, "partial", 0.2 + 0.1 * number) for number in range(4)]
    assert (
        policy.choose([*history[:4], *rising, record(8, "full", 0.9)], ["full", "partial"], Clock(9, 100)) == "partial"
    )
    # With one further trial it cannot.
    assert policy.choose([*history[:4], *rising, record(8, "full", 0.9)], ["full", "partial"], Clock(9, 10)) == "full"


def test_the_posterior_maximum_prefers_what_reaches_more_for_the_seconds_left() -> None:
    def chosen(price: float) -> int:
        """How often partial is chosen of two strategies with equal scores, if the other costs ten seconds a trial."""
        scores = (0.70, 0.75, 0.80, 0.72, 0.78)
        history = [record(2 * place, "full", score, 10.0) for place, score in enumerate(scores)]
        history += [record(2 * place + 1, "partial", score, price) for place, score in enumerate(scores)]
        choices = (PosteriorMax(seed).choose(history, ["full", "partial"], Clock(50, 60)) for seed in range(200))
        return sum(choice == "partial" for choice in choices)

    # With ten seconds left, there is one trial of full.
    assert chosen(1.0) > 1.5 * chosen(10.0)


def test_top_two_leave_those_alone_that_cannot_win() -> None:
    rng = np.random.default_rng(0)
    levels = dict(zip(STRATEGIES, (0.4, 0.88, 0.87, 0.5, 0.3), strict=True))
    history = [
        record(number, name, levels[name] + 0.01 * float(rng.standard_normal()))
        for number, name in enumerate(STRATEGIES * 8)
    ]
    chosen = Counter(TopTwo(seed).choose(history, STRATEGIES, Clock(40, 80)) for seed in range(100))
    assert chosen["partial"] + chosen["full"] > 90


def test_a_race_is_between_those_within_chance_of_the_leader() -> None:
    # On 100 images, a difference of two accuracies of 0.9 has a standard error of 4.2 points.
    history = [record(0, "full", 0.9, 30.0), record(1, "partial", 0.87, 20.0), record(2, "lp_ft", 0.84, 10.0)]
    assert Race(100).choose(history, ["full", "partial", "lp_ft"], Clock(60, 90)) == "partial"
    assert Race(100, margin=2.0).choose(history, ["full", "partial", "lp_ft"], Clock(60, 90)) == "lp_ft"


def test_tpe_chooses_the_strategies_that_optuna_chooses() -> None:
    distribution = CategoricalDistribution(STRATEGIES)
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    pairs = []
    for seed in range(60):
        # From the start of TPE to where old trials count less.
        history = spend(RandomChoice(seed), 60.0 + 4 * seed, seed)
        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        for trial in history:
            study.add_trial(
                create_trial(
                    state=states[trial.state],
                    value=trial.score if trial.state == "complete" else None,
                    params={STRATEGY: trial.strategy},
                    distributions={STRATEGY: distribution},
                    intermediate_values=trial.curve,
                )
            )
        if sum(trial.state != "failed" for trial in history) >= 10:
            theirs = study.ask().suggest_categorical(STRATEGY, STRATEGIES)
            pairs.append((CategoryTPE(seed).choose(history, STRATEGIES, Clock(0, 1)), theirs))
    assert len(pairs) > 40
    assert len(set(pairs)) >= 4
    # Of strategies that are equally good, rounding chooses in Optuna.
    assert sum(ours == theirs for ours, theirs in pairs) >= 0.95 * len(pairs)


RULES: list[tuple[StoppingRule, optuna.pruners.BasePruner]] = [
    (MedianRule(), optuna.pruners.MedianPruner()),
    (STRATEGY_MEDIAN, StrategyPruner()),
]


@pytest.mark.parametrize(("rule", "pruner"), RULES)
def test_the_median_rules_decide_as_optuna(rule: StoppingRule, pruner: optuna.pruners.BasePruner) -> None:
    ended = Counter(state for seed in range(12) for state in ends_of_both(rule, pruner, seed))
    assert min(ended["complete"], ended["pruned"]) > 50


def ends_of_both(rule: StoppingRule, pruner: optuna.pruners.BasePruner, seed: int) -> list[str]:
    """The states of trials of two strategies, which a rule and a pruner agree on after each epoch."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(0))
    history: list[TrialRecord] = []
    for number in range(25):
        strategy = str(rng.choice(STRATEGIES[:2]))
        study.enqueue_trial({STRATEGY: strategy})
        asked = study.ask()
        asked.suggest_categorical(STRATEGY, STRATEGIES)
        trial, state = TrialRecord(number, "running", strategy), "complete"
        for epoch in range(int(rng.integers(3, 8))):
            trial.curve[epoch] = float(rng.choice([0.5, 0.6, 0.7, 0.8]))
            asked.report(trial.curve[epoch], epoch)
            assert (rule.ends(trial, history) == "pruned") == asked.should_prune()
            if asked.should_prune():
                state = "pruned"
                break
        value = max(trial.curve.values()) if state == "complete" else None
        study.tell(asked, value, TrialState.COMPLETE if state == "complete" else TrialState.PRUNED)
        history.append(TrialRecord(number, state, strategy, {}, value, trial.curve))
    return [trial.state for trial in history]


def test_fixed_epochs_keep_the_trial() -> None:
    trial = TrialRecord(0, "running", "full", epochs=12)
    ends = []
    for epoch in range(12):
        trial.curve[epoch] = 0.5
        ends.append(FixedEpochs(0.25).ends(trial, []))
    assert ends[:3] == [None, None, "complete"]
    assert FixedEpochs(0.0).ends(TrialRecord(0, "running", "full", curve={0: 0.1}, epochs=12), []) == "complete"


def test_successive_halving_keeps_one_of_three_at_each_rung_of_a_strategy() -> None:
    def trial(number: int, level: float, epochs: int, strategy: str = "full") -> TrialRecord:
        return TrialRecord(number, "pruned", strategy, curve=dict.fromkeys(range(epochs), level))

    rule = SuccessiveHalving(first=2, factor=3)
    history = [trial(0, 0.5, 2), trial(1, 0.7, 6), trial(2, 0.9, 6, "scratch")]
    assert rule.ends(trial(3, 0.6, 2), history) == "pruned"
    assert rule.ends(trial(3, 0.8, 2), history) is None
    assert rule.ends(trial(3, 0.6, 3), history) is None
    assert rule.ends(trial(3, 0.6, 6), history) == "pruned"
    # Of six, two go on.
    others = [*history, *(trial(4 + place, 0.4, 2) for place in range(3))]
    assert rule.ends(trial(9, 0.6, 2), others) is None
