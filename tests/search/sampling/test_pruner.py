"""The pruner: the median rule, within a strategy only."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.pruners import MedianPruner
from optuna.trial import TrialState

from frostline.search.records import BATCH, STRATEGY
from frostline.search.sampling.pruner import MIN_COMPARED, WARMUP_EPOCHS, WARMUP_FOLDS, StrategyPruner

EPOCHS = 6


@pytest.fixture
def study() -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(
        direction="maximize", pruner=StrategyPruner(), sampler=optuna.samplers.RandomSampler(seed=0)
    )


def train(
    study: optuna.Study, strategy: str, level: float, epochs: int = EPOCHS, batch: int | None = None
) -> int | None:
    """Run a trial at a constant score; the epoch after which it was pruned, None if it was not."""
    study.enqueue_trial({STRATEGY: strategy})
    trial = study.ask()
    trial.suggest_categorical(STRATEGY, ["feature_extraction", "full"])
    if batch is not None:
        trial.set_user_attr(BATCH, batch)
    for epoch in range(epochs):
        trial.report(level, epoch)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return epoch
    study.tell(trial, level)
    return None


def test_a_trial_is_not_pruned_for_what_another_strategy_does(study: optuna.Study) -> None:
    for level in (0.90, 0.91, 0.92, 0.93):
        assert train(study, "feature_extraction", level) is None
    for level in (0.2, 0.3, 0.4):
        assert train(study, "full", level) is None
    # Far below the four probes, above its own median of 0.3.
    assert train(study, "full", 0.35) is None


def test_a_trial_below_its_own_median_is_pruned_after_the_warm_up(study: optuna.Study) -> None:
    for level in (0.1, 0.1, 0.1, 0.1):
        train(study, "full", level)
    for level in (0.90, 0.92, 0.94):
        train(study, "feature_extraction", level)
    # Far above the other strategy, below its own median of 0.92.
    assert train(study, "feature_extraction", 0.91) == 2
    assert train(study, "feature_extraction", 0.93) is None


def test_the_first_trials_of_a_strategy_are_never_pruned(study: optuna.Study) -> None:
    for level in (0.9, 0.9, 0.9):
        train(study, "feature_extraction", level)
    assert train(study, "full", 0.8) is None
    assert train(study, "full", 0.1) is None
    assert train(study, "full", 0.05) == 2


def test_trials_of_a_batch_are_not_compared_with_each_other(study: optuna.Study) -> None:
    for level in (0.5, 0.6, 0.7):
        train(study, "full", level)
    # With those before, the median would be 0.8.
    for level in (0.8, 0.85, 0.9, 0.95):
        assert train(study, "full", level, batch=3) is None
    assert train(study, "full", 0.65, batch=3) is None
    assert train(study, "full", 0.55, batch=3) == 2
    assert train(study, "full", 0.65, batch=9) == 2


@pytest.mark.parametrize("seed", range(4))
def test_within_a_strategy_it_decides_as_optunas_median_pruner(seed: int, study: optuna.Study) -> None:
    """Curves that rise and fall, of few distinct scores; two strategies in turns, each also in a study of its own."""
    rng = np.random.default_rng(seed)
    median = MedianPruner(n_startup_trials=MIN_COMPARED, n_warmup_steps=WARMUP_EPOCHS, n_min_trials=MIN_COMPARED)
    alone = {name: optuna.create_study(direction="maximize", pruner=median) for name in ("feature_extraction", "full")}
    decided = []
    for number in range(60):
        strategy = ("feature_extraction", "full")[number % 2]
        study.enqueue_trial({STRATEGY: strategy})
        ours, theirs = study.ask(), alone[strategy].ask()
        ours.suggest_categorical(STRATEGY, list(alone))
        scores = np.round(rng.random(rng.integers(1, EPOCHS + 1)), 1)
        ends = TrialState.COMPLETE if rng.random() < 0.8 else TrialState.FAIL
        for epoch, score in enumerate(scores.tolist()):
            ours.report(score, epoch)
            theirs.report(score, epoch)
            assert ours.should_prune() == theirs.should_prune()
            decided.append(ours.should_prune())
            if decided[-1]:
                ends = TrialState.PRUNED
                break
        for own, trial in ((study, ours), (alone[strategy], theirs)):
            own.tell(trial, float(scores.max()) if ends == TrialState.COMPLETE else None, state=ends)
    assert 5 < sum(decided) < len(decided) - 5


def test_pruned_trials_do_not_lower_the_bar(study: optuna.Study) -> None:
    for level in (0.8, 0.8):
        train(study, "full", level)
    for _ in range(5):
        assert train(study, "full", 0.1) == 2
    assert train(study, "full", 0.7) == 2


def test_the_only_one_that_came_so_far_does_not_stop_the_next(study: optuna.Study) -> None:
    for level in (0.6, 0.62, 0.64):
        train(study, "full", level, epochs=3)
    assert train(study, "full", 0.9) is None
    assert train(study, "full", 0.85) is None
    # Two are enough.
    assert train(study, "full", 0.8) == 3


def test_over_folds_two_of_them_are_the_warm_up() -> None:
    study = optuna.create_study(direction="maximize", pruner=StrategyPruner(WARMUP_FOLDS))
    for level in (0.90, 0.92, 0.94):
        assert train(study, "full", level, epochs=3) is None
    assert train(study, "full", 0.5, epochs=3) == 1
