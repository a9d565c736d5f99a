"""The choice of the strategy: what Optuna's own TPE chooses, draw by draw."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial, TrialState, create_trial

from frostline.search.records import STRATEGY
from frostline.search.sampling.strategy_choice import StrategyChoice

STRATEGIES = ("feature_extraction", "partial", "full", "lp_ft", "scratch")
STARTUP = 4
DISTRIBUTION = CategoricalDistribution(STRATEGIES)
STATES = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, TrialState.RUNNING)


def make_trial(rng: np.random.Generator, complete: float = 0.6) -> FrozenTrial:
    """A trial of any strategy and state, complete with that probability."""
    state = STATES[rng.choice(len(STATES), p=[complete, 0.8 - complete, 0.1, 0.1])]
    # Few different scores, so that there are ties; a pruned trial may have no report, or one that is no number.
    scores = rng.choice([0.5, 0.6, 0.7, 0.8, 0.9], size=int(rng.integers(0, 4))).tolist()
    if scores and state == TrialState.PRUNED and rng.random() < 0.2:
        scores[-1] = float("nan")
    chosen = {STRATEGY: str(rng.choice(STRATEGIES[: int(rng.integers(2, 6))]))}
    if state == TrialState.RUNNING and rng.random() < 0.3:
        chosen = {}
    return create_trial(
        state=state,
        value=float(rng.choice([0.5, 0.6, 0.7, 0.8, 0.9])) if state == TrialState.COMPLETE else None,
        params=chosen,
        distributions=dict.fromkeys(chosen, DISTRIBUTION),
        intermediate_values=dict(enumerate(scores)),
    )


def their_choice(study: optuna.Study, trial: FrozenTrial, seed: int) -> str:
    sampler = TPESampler(multivariate=True, group=True, constant_liar=True, n_startup_trials=STARTUP, seed=seed)
    return sampler.sample_independent(study, trial, STRATEGY, DISTRIBUTION)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("complete", [0.6, 0.02])
@pytest.mark.parametrize("count", [8, 24, 40, 300])
def test_it_chooses_what_optuna_chooses(count: int, complete: float) -> None:
    """Where few trials are complete, pruned ones are among the good."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    same, seen = [], set[str]()
    for seed in range(25):
        rng = np.random.default_rng([seed, count])
        study = optuna.create_study(direction="maximize")
        study.add_trials([make_trial(rng, complete) for _ in range(count)])
        trial = study._storage.get_trial(study._storage.create_new_trial(study._study_id))
        if len(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))) < STARTUP:
            continue
        choice = StrategyChoice(STARTUP)
        choice.update(study.get_trials(deepcopy=False))
        ours, theirs = choice.choose(trial.number, STRATEGIES, seed), their_choice(study, trial, seed)
        ratios = choice.log_ratios(trial.number, STRATEGIES)
        # Of strategies that are equally good, rounding chooses in Optuna.
        assert ratios[ours] == ratios[theirs]
        same.append(ours == theirs)
        seen.add(ours)
    assert len(same) > 20
    assert np.mean(same) > 0.6
    assert len(seen) > 2


def test_trials_that_are_taken_over_one_by_one_count_as_all_at_once() -> None:
    """Trials run before they end, and one that had ended runs again: another worker has taken it over."""
    rng = np.random.default_rng(0)
    trials = [make_trial(rng) for _ in range(60)]
    for number, trial in enumerate(trials):
        trial.number = number
    running = [
        create_trial(state=TrialState.RUNNING, params={STRATEGY: "full"}, distributions={STRATEGY: DISTRIBUTION})
        for _ in trials
    ]
    for number, trial in enumerate(running):
        trial.number = number
    followed = StrategyChoice(STARTUP)
    steps = [[*trials[:at], running[at]] for at in range(60)]
    for seen in [*steps[:40], [*trials[:20], running[20], *trials[21:40]], *steps[40:]]:
        followed.update(seen)
        anew = StrategyChoice(STARTUP)
        anew.update(seen)
        assert followed.log_ratios(99, STRATEGIES) == anew.log_ratios(99, STRATEGIES)
        assert [followed.choose(99, STRATEGIES, seed) for seed in range(5)] == [
            anew.choose(99, STRATEGIES, seed) for seed in range(5)
        ]


def test_the_first_choices_are_uniform() -> None:
    choice = StrategyChoice(STARTUP)
    drawn = [choice.choose(0, STRATEGIES, seed) for seed in range(500)]
    assert all(70 < drawn.count(name) < 130 for name in STRATEGIES)
