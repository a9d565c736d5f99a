"""Trials in memory: the database is told the same, together, and before what builds on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from frostline.search.held_storage import HeldStorage
from frostline.search.pruner import StrategyPruner
from frostline.search.sampler import STRATEGY, StrategySampler
from frostline.storage.database import Database

STRATEGIES = ["feature_extraction", "full"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = f"sqlite:///{tmp_path}/studies.db"
    optuna.create_study(study_name="flowers", storage=url, direction="maximize")
    return url


def shared(url: str) -> optuna.Study:
    """The study as other processes see it."""
    return optuna.load_study(study_name="flowers", storage=url)


def held(url: str) -> optuna.Study:
    backend = RDBStorage(url)
    storage = HeldStorage(backend, backend.get_study_id_from_name("flowers"), Database(url))
    sampler = StrategySampler(20, seed=0)
    return optuna.load_study(study_name="flowers", storage=storage, sampler=sampler, pruner=StrategyPruner())


def begin(study: optuna.Study) -> optuna.Trial:
    trial = study.ask()
    strategy = trial.suggest_categorical(STRATEGY, STRATEGIES)
    trial.suggest_float(f"{strategy}/x", 0, 1)
    trial.suggest_int(f"{strategy}/depth", 1, 5)
    trial.set_user_attr("started", {"x": [1, 2]})
    return trial


def work(study: optuna.Study, trials: int) -> None:
    """Trials of random scores: complete, pruned, failed, and one cut off after its second epoch."""
    rng = np.random.default_rng(0)
    for number in range(trials):
        trial, pruned = begin(study), False
        for epoch in range(4):
            trial.report(float(rng.uniform()), epoch)
            pruned = pruned or trial.should_prune()
        trial.set_user_attr("seconds", 0.5)
        if number % 5 == 4:
            study.tell(trial, state=TrialState.FAIL)
        elif pruned:
            study.tell(trial, state=TrialState.PRUNED)
        else:
            study.tell(trial, float(rng.uniform()))
    last = begin(study)
    last.report(float("nan"), 0)
    last.report(0.5, 1)
    study._storage.set_trial_state_values(last._trial_id, TrialState.WAITING)


def seen(trials: list[FrozenTrial]) -> list[tuple[object, ...]]:
    return [
        (
            trial.number,
            trial.state,
            trial.values,
            trial.params,
            trial.distributions,
            {step: repr(value) for step, value in trial.intermediate_values.items()},
            trial.user_attrs,
            trial.system_attrs,
            trial.datetime_start,
            trial.datetime_complete,
        )
        for trial in trials
    ]


def test_the_database_and_memory_say_the_same(url: str) -> None:
    study = held(url)
    study.enqueue_trial({STRATEGY: "full", "full/x": 0.5, "full/depth": 2})
    work(study, 18)
    assert {trial.state for trial in study.trials} == {
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.WAITING,
    }
    assert seen(study.trials) == seen(shared(url).trials)


def test_a_study_goes_the_way_it_would_with_a_shared_storage(url: str) -> None:
    plain = optuna.create_study(direction="maximize", sampler=StrategySampler(20, seed=0), pruner=StrategyPruner())
    study = held(url)
    for each in (plain, study):
        work(each, 18)
    assert [row[:6] for row in seen(study.trials)] == [row[:6] for row in seen(plain.trials)]


def test_what_is_noted_waits_until_it_is_flushed(url: str) -> None:
    study = held(url)
    trial = begin(study)
    assert shared(url).trials[0].params == {}
    storage = study._storage
    assert isinstance(storage, HeldStorage)
    storage.flush()
    assert shared(url).trials[0].params == trial.params
    assert shared(url).trials[0].user_attrs == {"started": {"x": [1, 2]}}
    # Written again, nothing is doubled.
    trial.set_user_attr("started", {"x": []})
    trial.report(0.1, 0)
    storage.set_trial_intermediate_value(trial._trial_id, 0, 0.2)
    storage.flush()
    assert shared(url).trials[0].user_attrs == {"started": {"x": []}}
    assert shared(url).trials[0].intermediate_values == {0: 0.2}


def test_another_process_goes_on_with_a_trial_that_was_cut_off(url: str) -> None:
    study = held(url)
    work(study, 6)
    cut_off = study.trials[-1]
    again = begin(held(url))
    assert again.number == cut_off.number
    assert again.params == cut_off.params


def test_one_that_was_killed_before_it_was_written_is_drawn_the_same(url: str) -> None:
    study = held(url)
    work(study, 12)
    study.tell(begin(study), 0.3)
    killed = begin(study)
    other = held(url)
    assert other.trials[killed.number].params == {}
    other._storage.set_trial_state_values(killed._trial_id, TrialState.WAITING)
    again = begin(other)
    assert again.number == killed.number
    assert again.params == killed.params


def test_finished_trials_are_not_changed(url: str) -> None:
    study = held(url)
    trial = begin(study)
    study.tell(trial, 0.5)
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        trial.set_user_attr("late", 1)


def test_who_read_a_trial_keeps_what_was_read(url: str) -> None:
    study = held(url)
    trial = begin(study)
    before = study.get_trials(deepcopy=False)[0]
    trial.report(0.5, 0)
    assert before.intermediate_values == {}
    assert study.get_trials(deepcopy=False)[0].intermediate_values == {0: 0.5}


def test_trials_that_end_together_are_written_together(url: str) -> None:
    study = held(url)
    trials = [begin(study) for _ in range(3)]
    storage = study._storage
    assert isinstance(storage, HeldStorage)
    with storage.together():
        for place, trial in enumerate(trials):
            study.tell(trial, 0.1 * place)
        assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
        assert {trial.state for trial in shared(url).trials} == {TrialState.RUNNING}
    assert seen(shared(url).trials) == seen(study.trials)
    study.tell(begin(study), 0.5)
    assert seen(shared(url).trials) == seen(study.trials)
