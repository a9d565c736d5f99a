"""The early end of a search: by one worker and several, across kills, resumed and extended."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from frostline.search.cli.results_json import describe
from frostline.search.doctor.doctor import check_study
from frostline.search.execution.run import resume, run_search
from frostline.search.execution.worker import Worker, open_worker
from frostline.search.records import STRATEGY
from frostline.search.slots.resources import Resources
from frostline.search.study.ending import judge_ending
from frostline.search.study.extension import Extension
from frostline.search.study.observer import Observer
from frostline.search.study.stored_records import OUTCOME, STARTED
from frostline.search.study.study import Study
from frostline.storage.database import tickets
from frostline.storage.workspace import Workspace

from ..study.test_study import FACTS, make_settings
from .test_device_time import request

MANY = replace(FACTS, counts={"train": 800, "val": 400, "test": 400})
LEVELS = {"full": 0.9, "scratch": 0.5}
# Trials, and the floor of each of the two strategies.
TRIALS, FLOOR = 20, 6


def created(folder: Path, **more: Any) -> Study:
    settings = make_settings(**{"trials": TRIALS, "stop_when_sure": 0.95, **more})
    return Study.create(settings, MANY, Workspace(folder), None)


def begin(worker: Worker) -> optuna.Trial | None:
    """Claim a trial and choose its strategy; None if none is left."""
    claimed = worker.claim()
    if not claimed:
        return None
    [trial] = claimed
    trial.suggest_categorical(STRATEGY, list(worker.study.settings.strategies))
    trial.set_user_attr(STARTED, {"config": {}, "epochs": 1})
    return trial


def finish(worker: Worker, trial: optuna.Trial, seconds: float = 1.0, levels: dict[str, float] = LEVELS) -> None:
    """End a trial with a score that its number and strategy say."""
    score = levels[trial.params[STRATEGY]] + 0.01 * (trial.number % 3)
    worker.spend(trial, seconds)
    trial.report(score, 0)
    trial.set_user_attr(OUTCOME, {"seconds": seconds})
    worker.tell(trial, score, TrialState.COMPLETE)


def work(worker: Worker, most: int = 1000, **more: Any) -> None:
    for _ in range(most):
        if (trial := begin(worker)) is None:
            return
        finish(worker, trial, **more)


def reopened(study: Study) -> Study:
    return Study.load(study.settings.name, study.workspace)


def test_a_search_ends_with_its_floors_where_the_lead_is_clear(tmp_path: Path) -> None:
    study = created(tmp_path)
    with open_worker(study) as worker:
        work(worker)
    ending, again = study.ending(), reopened(study)
    assert ending is not None
    assert len(study.trials()) == ending.ended == 2 * FLOOR
    assert again.search_ended()
    assert again.ending() == ending
    assert (ending.leader, ending.trials, ending.sure) == ("full", TRIALS, 0.95)
    assert again.results().state == "finals"
    assert again.results().ended_early.startswith(f"The search ended after {2 * FLOOR} of {TRIALS} trials: ")
    assert describe(again.results())["ended_early"] == ending.to_row()
    # It ended at the first trial at which it might.
    settings, trials = study.settings, study.trials()
    assert [bool(judge_ending(settings, MANY, trials[:n], 0.0)) for n in (2 * FLOOR - 1, 2 * FLOOR)] == [False, True]


def test_a_search_without_the_option_runs_all_trials_and_keeps_its_order(tmp_path: Path) -> None:
    def order(sure: float | None) -> tuple[list[str | None], bool]:
        study = created(tmp_path / str(sure), stop_when_sure=sure)
        with open_worker(study) as worker:
            work(worker)
        return [trial.strategy for trial in study.trials()], study.ending() is not None

    (usual, ended), (early, ended_early) = order(None), order(0.95)
    assert len(usual) == TRIALS
    assert (ended, ended_early) == (False, True)
    # What is behind completes its floor before the others go on: only then can the search be sure.
    assert [early.count(name) for name in LEVELS] == [FLOOR, FLOOR]
    assert usual[: 2 * FLOOR].count("scratch") < FLOOR


def test_strategies_that_are_equal_do_not_end_it(tmp_path: Path) -> None:
    study = created(tmp_path)
    with open_worker(study) as worker:
        work(worker, levels=dict.fromkeys(LEVELS, 0.8))
    assert len(study.trials()) == TRIALS
    assert study.ending() is None
    assert study.results().ended_early == ""


@pytest.mark.parametrize("seed", range(3))
def test_of_several_workers_none_begins_a_trial_after_the_end(tmp_path: Path, seed: int) -> None:
    study, rng = created(tmp_path), np.random.default_rng(seed)
    begun_after = []
    with ExitStack() as stack:
        workers = [stack.enter_context(open_worker(reopened(study))) for _ in range(3)]
        hands: list[optuna.Trial | None] = [None] * 3
        for _ in range(200):
            place = int(rng.integers(3))
            if hands[place] is None:
                before = study.ending()
                hands[place] = begin(workers[place])
                begun_after += [hands[place]] if before is not None else []
            elif (trial := hands[place]) is not None:
                finish(workers[place], trial)
                hands[place] = None
            if study.ending() is not None and not any(hands):
                break
        assert not any(begin(worker) for worker in workers)
    assert begun_after == [None] * len(begun_after)
    ending, trials = study.ending(), study.trials()
    assert ending is not None
    # What ran when it ended ran on.
    assert ending.ended <= len(trials) <= ending.ended + 2
    assert {trial.state for trial in trials} == {"complete"}
    assert reopened(study).search_ended()
    assert study.tickets.counts() == (len(trials), len(trials))


def test_a_kill_at_any_trial_leaves_the_end_where_it_was(tmp_path: Path) -> None:
    whole = created(tmp_path / "whole")
    with open_worker(whole) as worker:
        work(worker)
    study = created(tmp_path / "killed")
    for _ in range(3 * FLOOR):
        with ExitStack() as stack:
            worker = stack.enter_context(open_worker(reopened(study)))
            work(worker, most=1)
            if (trial := begin(worker)) is None:
                break
            worker.write()
            owner = study.tickets.held()[0].owner
            # Killed: its trial is claimed by the next, its own writes come to nothing.
            study.database.run_with_retry(lambda session, owner=owner: tickets.expire(session, "flowers", [owner]))
            worker._storage._held.clear()
            del trial
    assert [(trial.strategy, trial.score) for trial in study.trials()] == [
        (trial.strategy, trial.score) for trial in whole.trials()
    ]
    assert study.ending() == whole.ending()


def test_what_was_cut_off_at_the_end_is_ended_by_the_next_worker(tmp_path: Path) -> None:
    study = created(tmp_path)
    with open_worker(reopened(study)) as worker:
        work(worker, most=2 * FLOOR - 1)
        trial = begin(worker)
        assert trial is not None
        assert judge_ending(study.settings, MANY, study.trials(), 0.0) is None
        extra = begin(worker)
        finish(worker, trial)
        assert extra is not None
        assert begin(worker) is None
        ending = study.ending()
        assert ending is not None
        assert not reopened(study).search_ended()
    # The worker has gone and released what it had.
    with open_worker(reopened(study)) as worker:
        work(worker)
    assert len(study.trials()) == ending.ended + 1
    assert reopened(study).search_ended()


def test_only_the_budget_limits_trials_and_the_search_ends_before_it(tmp_path: Path) -> None:
    study = created(tmp_path, trials=None, budget=1000.0)
    with open_worker(study) as worker:
        work(worker, seconds=2.0)
    ending = study.ending()
    assert ending is not None
    # The floors of 30 trials.
    assert len(study.trials()) == ending.ended == 18
    assert reopened(study).search_ended()
    with open_worker(reopened(study)) as worker:
        assert begin(worker) is None
    reopened(study).ready()
    assert study.tickets.counts() == (18, 18)


def test_a_budget_that_is_spent_first_ends_it(tmp_path: Path) -> None:
    study = created(tmp_path, budget=10.0)
    with open_worker(study) as worker:
        work(worker, seconds=2.0)
    assert len(study.trials()) == 5
    assert study.ending() is None
    assert study.search_ended()


def test_a_search_that_ended_goes_on_when_it_is_extended(tmp_path: Path) -> None:
    study = created(tmp_path)
    with open_worker(study) as worker:
        work(worker)
    study.ready()
    assert len(study.trials()) == study.tickets.counts()[0] == 2 * FLOOR
    # More trials than before: the floors are larger.
    extended = Extension(trials=30).of(study)
    assert extended is not None
    study.extend(extended)
    assert study.ending() is None
    study.ready()
    with open_worker(reopened(study)) as worker:
        work(worker)
    assert len(study.trials()) == 18
    assert study.ending() is not None
    never = Extension(stop_when_sure=1).of(study)
    assert never is not None
    study.extend(never)
    assert not study.ready().search_ended()
    with open_worker(reopened(study)) as worker:
        work(worker)
    assert len(study.trials()) == 30
    assert study.ending() is None


def test_a_worker_that_has_not_read_of_an_extension_does_not_end_it(tmp_path: Path) -> None:
    study = created(tmp_path)
    with open_worker(reopened(study)) as worker:
        work(worker, most=2 * FLOOR)
        other = reopened(study)
        extended = Extension(trials=40).of(other)
        assert extended is not None
        other.extend(extended)
        other.ready()
        work(worker, most=1)
        assert other.ending() is None
        assert len(other.trials()) == 2 * FLOOR + 1


class Notes(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def test_a_real_search_ends_early_says_why_and_goes_on_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # On sixty images nothing is sure: the judgment is replaced, not what follows from it.
    monkeypatch.setattr("frostline.search.study.ending.judge_sureness", sure_of_the_leader)
    asked = request(tmp_path, trials=8, epochs=1, stop_when_sure=0.9)
    study = run_search(asked, Workspace(tmp_path / "ws"), Observer())
    results = study.results()
    assert (results.state, len(results.trials)) == ("finished", 6)
    # No ticket is missed.
    assert not [each for each in check_study(reopened(study)).problems if "ticket" in each.what]
    told = "The search ended after 6 of 8 trials: that another strategy would win by more than 1 point"
    assert results.warnings[0].startswith(told)
    seen = Notes()
    again = resume("tiny", study.workspace, seen, resources=Resources(device="cpu"))
    assert len(again.trials()) == 6
    [note] = [note for note in seen.notes if note.startswith(told)]
    assert f"frostline resume tiny --workspace {study.workspace.root} --stop-when-sure 1" in note
    more = resume("tiny", study.workspace, Observer(), stop_when_sure=1, resources=Resources(device="cpu"))
    assert len(more.trials()) == 8
    assert not more.results().ended_early


def sure_of_the_leader(scores: dict[str, list[float]], left: dict[str, int], *rest: float) -> Any:
    from frostline.search.analysis.sureness import Sureness

    leader = max(scores, key=lambda name: max(scores[name]))
    return Sureness(leader, {name: 0.04 for name in scores if name != leader}, 0.04)
