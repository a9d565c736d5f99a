"""Trials in memory: the database is told the same, together, and before what builds on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from frostline.search.execution.leased_storage import LeasedStorage
from frostline.search.records import STRATEGY
from frostline.search.sampling.budget import BudgetAllocation
from frostline.search.sampling.pruner import StrategyPruner
from frostline.search.sampling.sampler import StrategySampler
from frostline.search.study.stored_records import STARTED
from frostline.storage.database import tickets
from frostline.storage.database.engine import Database
from frostline.storage.database.leases import LeaseKeeper
from frostline.storage.database.tickets import Tickets
from frostline.storage.errors import LeaseLostError
from frostline.storage.timing import Timing

TRIALS = 30
TIMING = Timing()
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


def held(url: str, owner: str = "me", seconds: float = 60.0, timing: Timing = TIMING) -> optuna.Study:
    backend, database = RDBStorage(url), Database(url)
    tickets = Tickets(database, "flowers", "trial")
    tickets.issue(TRIALS)
    keeper = LeaseKeeper(database, seconds, owner)
    study_id = backend.get_study_id_from_name("flowers")
    storage = LeasedStorage(backend, study_id, tickets, keeper, database, timing)
    sampler = StrategySampler(BudgetAllocation(20), seed=0)
    return optuna.load_study(study_name="flowers", storage=storage, sampler=sampler, pruner=StrategyPruner())


def storage_of(study: optuna.Study) -> LeasedStorage:
    storage = study._storage
    assert isinstance(storage, LeasedStorage)
    return storage


def ask(study: optuna.Study) -> optuna.Trial:
    """As Optuna's own, of a trial that comes with a ticket."""
    if not isinstance(study._storage, LeasedStorage):
        return study.ask()
    [(trial_id, _)] = study._storage.claim()
    study.sampler.before_trial(study, study._storage.get_trial(trial_id))
    return optuna.Trial(study, trial_id)


def begin(study: optuna.Study) -> optuna.Trial:
    trial = ask(study)
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
    if isinstance(study._storage, LeasedStorage):
        study._storage.flush()
        study._storage.release()
        study._storage.refresh()
    else:
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
    shared(url).enqueue_trial({STRATEGY: "full", "full/x": 0.5, "full/depth": 2})
    study = held(url)
    work(study, 18)
    assert {trial.state for trial in study.trials} == {
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
        TrialState.WAITING,
    }
    assert seen(study.trials) == seen(shared(url).trials)
    assert seen(held(url, owner="another").trials) == seen(shared(url).trials)


def test_times_are_as_optuna_reads_them_in_any_zone(url: str, set_zone: Callable[[str], None]) -> None:
    set_zone("Asia/Tokyo")
    study = held(url)
    work(study, 3)
    expected = [(trial.datetime_start, trial.datetime_complete) for trial in shared(url).trials]
    assert [(trial.datetime_start, trial.datetime_complete) for trial in study.trials] == expected
    again = held(url, owner="another")
    assert [(trial.datetime_start, trial.datetime_complete) for trial in again.trials] == expected


def test_a_study_goes_the_way_it_would_with_a_shared_storage(url: str) -> None:
    plain = optuna.create_study(
        direction="maximize", sampler=StrategySampler(BudgetAllocation(20), seed=0), pruner=StrategyPruner()
    )
    study = held(url)
    for each in (plain, study):
        work(each, 18)
    assert [row[:6] for row in seen(study.trials)] == [row[:6] for row in seen(plain.trials)]


def test_what_is_noted_waits_until_it_is_flushed(url: str) -> None:
    study = held(url)
    trial = begin(study)
    assert shared(url).trials[0].params == {}
    storage = storage_of(study)
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


def test_a_trials_first_report_is_written_soon(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    study = held(url)
    first, second = begin(study), begin(study)
    now += TIMING.first_report - 0.1
    first.report(0.1, 0)
    assert shared(url).trials[0].intermediate_values == {}
    now += 0.2
    first.report(0.2, 1)
    assert shared(url).trials[0].intermediate_values == {0: 0.1, 1: 0.2}
    # Only the first, of each trial.
    now += TIMING.first_report + 0.1
    first.report(0.3, 2)
    assert len(shared(url).trials[0].intermediate_values) == 2
    second.report(0.4, 0)
    assert shared(url).trials[1].intermediate_values == {0: 0.4}


def test_another_process_goes_on_with_a_trial_that_was_cut_off(url: str) -> None:
    study = held(url)
    work(study, 6)
    cut_off = shared(url).trials[-1]
    again = begin(held(url, "another"))
    assert again.number == cut_off.number
    assert again.params == cut_off.params


def test_one_that_was_killed_before_it_was_written_is_drawn_the_same(url: str) -> None:
    study = held(url, "killed")
    work(study, 12)
    study.tell(begin(study), 0.3)
    killed = begin(study)
    assert shared(url).trials[killed.number].params == {}
    Database(url).run_with_retry(lambda session: tickets.expire(session, "flowers", ["killed"]))
    other = held(url, "other")
    again = begin(other)
    assert storage_of(other).lease(again._trial_id).lapses == 1
    assert again.number == killed.number
    assert again.params == killed.params


def test_with_several_trials_only_the_lost_one_is_not_written(url: str) -> None:
    study = held(url, "slow")
    first, second = begin(study), begin(study)
    storage_of(study).flush()
    Database(url).run_with_retry(lambda session: tickets.expire(session, "flowers", ["slow"]))
    taken = begin(held(url, "quick"))
    assert taken.number == first.number
    first.set_user_attr("seconds", 1)
    second.set_user_attr("seconds", 2)
    with pytest.raises(LeaseLostError, match="Ticket 0"):
        storage_of(study).flush()
    trials = shared(url).trials
    assert ("seconds" in trials[0].user_attrs, trials[1].user_attrs["seconds"]) == (False, 2)
    study.tell(second, 0.5)
    assert shared(url).trials[1].value == 0.5


def test_a_trial_that_is_lost_does_not_end_the_trial_beside_it(url: str) -> None:
    study = held(url, "slow", timing=Timing(first_report=-1.0))
    lost, kept = begin(study), begin(study)
    storage_of(study).flush()
    Database(url).run_with_retry(lambda session: tickets.expire(session, "flowers", ["slow"]))
    assert begin(held(url, "quick")).number == lost.number
    lost.set_user_attr("seconds", 1)
    # This report writes the other trial's attribute too, which shows that it is lost.
    kept.report(0.5, 0)
    assert shared(url).trials[1].intermediate_values == {0: 0.5}
    for change in (lambda: lost.report(0.5, 0), lambda: storage_of(study).lease(lost._trial_id)):
        with pytest.raises(LeaseLostError, match="Ticket 0"):
            change()
    study.tell(kept, 0.5)
    assert shared(url).trials[1].value == 0.5


def test_a_trial_ends_although_the_one_beside_it_is_lost_with_the_same_write(url: str) -> None:
    study = held(url, "slow")
    lost, kept = begin(study), begin(study)
    storage_of(study).flush()
    Database(url).run_with_retry(lambda session: tickets.expire(session, "flowers", ["slow"]))
    assert begin(held(url, "quick")).number == lost.number
    lost.set_user_attr("seconds", 1)
    study.tell(kept, 0.5)
    assert shared(url).trials[1].value == 0.5


def test_what_was_told_too_late_is_not_remembered(url: str) -> None:
    """Neither its score, nor that it ended: the trial is its new owner's, and may come back."""
    slow, quick = held(url, "slow"), held(url, "quick")
    late, kept = begin(slow), begin(slow)
    storage_of(slow).flush()
    Database(url).run_with_retry(lambda session: tickets.expire(session, "flowers", ["slow"]))
    taken = [begin(quick), begin(quick)]
    assert [trial.number for trial in taken] == [late.number, kept.number]
    with pytest.raises(LeaseLostError, match="Ticket 0"):
        slow.tell(late, 0.1)
    with pytest.raises(LeaseLostError, match="Ticket 1"):
        slow.tell(kept, 0.1)
    quick.tell(taken[0], 0.9)
    storage_of(quick).flush()
    storage_of(quick).release()
    storage_of(slow).refresh()
    assert slow.trials[0].value == 0.9
    again = begin(slow)
    assert again.number == kept.number
    slow.tell(again, 0.5)
    assert [trial.number for trial in shared(url).trials] == [0, 1]
    assert seen(slow.trials) == seen(shared(url).trials)


def test_memory_follows_what_others_do(url: str) -> None:
    mine, other = held(url, "me"), held(url, "other")
    for turn in range(8):
        study = (mine, other)[turn % 2]
        study.tell(begin(study), turn / 8)
    long = begin(mine)
    for turn in range(4):
        other.tell(begin(other), turn / 8)
    long.report(0.5, 0)
    mine.tell(long, 0.7)
    begin(mine)
    begin(other)
    storage_of(mine).flush()
    storage_of(other).flush()
    storage_of(mine).refresh()
    storage_of(other).refresh()
    assert seen(mine.trials) == seen(other.trials) == seen(shared(url).trials)


def test_what_is_under_way_elsewhere_is_read_when_it_ends_or_is_taken_over(url: str) -> None:
    mine, other = held(url, "me"), held(url, "other")
    ends, cut_off = begin(other), begin(other)
    for trial in (ends, cut_off):
        trial.set_user_attr(STARTED, {"config": {}})
    storage_of(other).flush()
    storage_of(mine).refresh()
    assert [trial.params for trial in mine.trials] == [ends.params, cut_off.params]
    for trial in (ends, cut_off):
        trial.report(0.25, 0)
    other.tell(ends, 0.5)
    storage_of(other).flush()
    storage_of(other).release()
    assert ask(mine).number == cut_off.number
    assert [trial.intermediate_values for trial in mine.trials] == [{0: 0.25}, {0: 0.25}]
    storage_of(mine).flush()
    assert seen(mine.trials) == seen(shared(url).trials)


def test_trials_come_with_tickets_only(url: str) -> None:
    with pytest.raises(NotImplementedError, match="tickets"):
        held(url).ask()
    study = held(url)
    every = [begin(study) for _ in range(TRIALS)]
    assert [trial.number for trial in every] == list(range(TRIALS))
    assert storage_of(study).claim() == []


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
    assert isinstance(storage, LeasedStorage)
    with storage.together():
        for place, trial in enumerate(trials):
            study.tell(trial, 0.1 * place)
        assert {trial.state for trial in study.trials} == {TrialState.COMPLETE}
        assert {trial.state for trial in shared(url).trials} == {TrialState.RUNNING}
    assert seen(shared(url).trials) == seen(study.trials)
    study.tell(begin(study), 0.5)
    assert seen(shared(url).trials) == seen(study.trials)
