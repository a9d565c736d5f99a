"""The view of one strategy: whatever Optuna asks, it never sees a trial of another (contract C7)."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import Any

import optuna
import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

from frostline.search.records import STRATEGY
from frostline.search.sampling.budget import BudgetAllocation
from frostline.search.sampling.pruner import StrategyPruner
from frostline.search.sampling.sampler import STARTUP_TRIALS, StrategySampler
from frostline.search.sampling.strategy_trials import StrategyTrials
from frostline.search.sampling.strategy_view import strategy_view

NAMES = ["full", "scratch"]


class ForeignTrial(FrozenTrial):
    """A trial that tells its strategy, and fails when anything else is asked."""

    def __init__(self) -> None:
        # It has nothing to read.
        pass

    def __getattribute__(self, name: str) -> Any:
        if name == "params":
            return {STRATEGY: "scratch"}
        raise AssertionError(f"{name} of a trial of another strategy was read")


class GuardedStorage(InMemoryStorage):
    """Trials of ``scratch`` fail when anything but their strategy is read."""

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = super().get_all_trials(study_id, deepcopy, states)
        return [ForeignTrial() if each.params.get(STRATEGY) == "scratch" else each for each in trials]


@pytest.fixture
def study() -> optuna.Study:
    """Trials of two strategies in turn; those of scratch are guarded."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        storage=GuardedStorage(),
        sampler=StrategySampler(BudgetAllocation(100), seed=0),
        pruner=StrategyPruner(),
    )
    uniform = optuna.distributions.FloatDistribution(0, 1)
    for place in range(3 * STARTUP_TRIALS):
        for name in NAMES:
            study.add_trial(
                create_trial(
                    params={STRATEGY: name, f"{name}/x": place / 12},
                    distributions={
                        STRATEGY: optuna.distributions.CategoricalDistribution(NAMES),
                        f"{name}/x": uniform,
                    },
                    value=place / 12,
                    intermediate_values=dict.fromkeys(range(6), place / 12),
                )
            )
    return study


def ask(study: optuna.Study, strategy: str) -> optuna.Trial:
    study.enqueue_trial({STRATEGY: strategy})
    trial = study.ask()
    trial.suggest_categorical(STRATEGY, NAMES)
    return trial


def test_the_guard_notices_an_unguarded_reader(study: optuna.Study) -> None:
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=1)
    trial = ask(study, "full")
    with pytest.raises(AssertionError, match="of another strategy was read"):
        trial.suggest_float("full/x", 0, 1)


def test_neither_tpe_nor_the_pruner_reads_a_trial_of_another_strategy(study: optuna.Study) -> None:
    trial = ask(study, "full")
    assert 0 <= trial.suggest_float("full/x", 0, 1) <= 1
    # It was drawn together: TPE was asked, and had trials to learn from.
    assert any(key.startswith("tpe:relative_params") for key in study._storage.get_trial(trial._trial_id).system_attrs)
    for epoch in range(4):
        trial.report(-1.0, epoch)
    assert trial.should_prune()


READERS: dict[str, Callable[[optuna.Study], list[FrozenTrial]]] = {
    "trials": lambda view: view.trials,
    "get_trials": lambda view: view.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)),
    "_get_trials": lambda view: view._get_trials(deepcopy=False, use_cache=True),
    "best_trial": lambda view: [view.best_trial],
    "best_trials": lambda view: view.best_trials,
    "storage": lambda view: view._storage.get_all_trials(view._study_id),
    "storage's best": lambda view: [view._storage.get_best_trial(view._study_id)],
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("strategy", NAMES)
def test_all_that_a_study_tells_is_of_one_strategy(reader: str, strategy: str) -> None:
    study = optuna.create_study(direction="maximize")
    for place, name in enumerate(NAMES * 3):
        choices = optuna.distributions.CategoricalDistribution(NAMES)
        study.add_trial(create_trial(params={STRATEGY: name}, distributions={STRATEGY: choices}, value=float(place)))
    found = READERS[reader](strategy_view(study, StrategyTrials(strategy)))
    assert found
    assert {trial.params[STRATEGY] for trial in found} == {strategy}
    numbers = [trial.number for trial in study.trials if trial.params[STRATEGY] == strategy]
    assert {trial.number for trial in found} <= set(numbers)


def test_a_view_shows_what_comes_later(study: optuna.Study) -> None:
    view = strategy_view(study, StrategyTrials("full"))
    before = len(view.trials)
    ask(study, "full")
    ask(study, "scratch")
    assert len(view.trials) == before + 1


def test_a_view_has_the_name_direction_and_notes_of_its_study(study: optuna.Study) -> None:
    study.set_user_attr("note", 1)
    view = strategy_view(study, StrategyTrials("full"))
    assert (view.study_name, view.direction, view.user_attrs) == (study.study_name, study.direction, {"note": 1})


def test_trials_of_another_strategy_can_be_neither_read_nor_changed_by_id(study: optuna.Study) -> None:
    view = strategy_view(study, StrategyTrials("full"))._storage
    own, other = (ask(study, name)._trial_id for name in NAMES)
    view.set_trial_system_attr(own, "drawn", 1)
    assert view.get_trial(own).system_attrs["drawn"] == 1
    with pytest.raises(KeyError, match="another strategy"):
        view.get_trial(other)
    with pytest.raises(KeyError, match="another strategy"):
        view.set_trial_system_attr(other, "drawn", 1)


def test_a_view_is_not_written_to(study: optuna.Study) -> None:
    view = strategy_view(study, StrategyTrials("full"))
    with pytest.raises(NotImplementedError, match="study of all strategies"):
        view.ask()
    with pytest.raises(NotImplementedError, match="study of all strategies"):
        view.set_user_attr("note", 1)


def test_a_view_hands_out_copies_where_they_are_asked_for_and_as_many_as_it_may(study: optuna.Study) -> None:
    view = strategy_view(study, StrategyTrials("full"), most=26)
    own = [trial for trial in study.get_trials(deepcopy=False) if trial.params[STRATEGY] == "full"]
    for _ in range(40 - len(own)):
        ask(study, "full")
    assert len(view.trials) == 26
    assert len(strategy_view(study, StrategyTrials("full")).trials) == 40
    storage = view._storage
    first, again = (storage.get_all_trials(view._study_id, deepcopy=False)[0] for _ in range(2))
    assert first is again
    assert storage.get_all_trials(view._study_id)[0] is not first
    running = storage.get_all_trials(view._study_id, states=(TrialState.RUNNING,))
    assert running
    assert {trial.state for trial in running} == {TrialState.RUNNING}
    assert (view._study_id, storage.get_study_name_from_id(0)) == (study._study_id, study.study_name)
    assert storage.get_study_system_attrs(view._study_id) == study._storage.get_study_system_attrs(study._study_id)


def test_names_of_strategies_are_compared_by_their_letters(study: optuna.Study) -> None:
    assert len(strategy_view(study, StrategyTrials("".join(list("full")))).trials) == 3 * STARTUP_TRIALS
