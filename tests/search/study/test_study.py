"""A study in its database: made once, opened again, cut off and requeued, read as records."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from frostline.objectives.errors import InvalidInputError
from frostline.search.cli.results_json import describe
from frostline.search.execution.worker import Worker, open_worker
from frostline.search.records import STRATEGY, FinalRecord, FinalScores, TrialRecord
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.facts import StudyFacts
from frostline.search.study.progress import progress_sentence
from frostline.search.study.settings import StudySettings
from frostline.search.study.stored_records import OUTCOME, STARTED
from frostline.search.study.studies import study_names
from frostline.search.study.study import Study
from frostline.storage.database import tickets
from frostline.storage.database.control import PAUSE, RUN, STOP
from frostline.storage.errors import LeaseLostError, StorageError
from frostline.storage.workspace import Workspace

FACTS = StudyFacts(
    classes=("daisy", "röse"),
    counts={"train": 7, "val": 2, "test": 2},
    fingerprint="9f86",
    skipped=(("a.jpg", "truncated"),),
    units=("stem", "layer1", "layer2"),
    frozen_flops=(0.0, 0.2, 0.7, 1.0),
    notes=("conv1 was missing",),
)
# The second of two images of class 0 and 1 is missed.
PROBABILITIES = np.array([[0.9, 0.1], [0.6, 0.4]], dtype=np.float32)
SPACE = {
    "shared": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True, "default": 1e-3}},
    "full": {"batch_norm": {"choices": ["train", "eval"]}},
    "scratch": {"epochs": 3},
}


def make_settings(**changes: Any) -> StudySettings:
    values: dict[str, Any] = {
        "name": "flowers",
        "data": "photos",
        "backbone": "resnet18",
        "weights": "none",
        "image_size": 64,
        "trials": 6,
        "metric": "accuracy",
        "seed": 0,
        "finals_seeds": 1,
        "space": resolve_space(create_space(SPACE), 3),
    }
    return StudySettings(**{**values, **changes})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def study(workspace: Workspace) -> Study:
    return Study.create(make_settings(), FACTS, workspace, "http://tracking")


@pytest.fixture
def worker(study: Study) -> Iterator[Worker]:
    with open_worker(study) as worker:
        yield worker


def begin(worker: Worker, strategy: str | None = None) -> optuna.Trial:
    [trial] = worker.claim()
    settings = worker.study.settings
    strategy = trial.suggest_categorical(STRATEGY, [strategy] if strategy else list(settings.strategies))
    config = settings.space.suggest(trial, strategy)
    trial.set_user_attr(STARTED, {"config": {"learning_rate": config.learning_rate}})
    return trial


def complete(worker: Worker, score: float, strategy: str | None = None) -> None:
    trial = begin(worker, strategy)
    trial.report(score, 0)
    trial.set_user_attr(OUTCOME, {"seconds": 2.5, "trainable_parameters": 9, "freeze_depth": 0})
    worker.tell(trial, score, TrialState.COMPLETE)


# Made and opened


def test_a_study_is_opened_as_it_was_made(study: Study, workspace: Workspace) -> None:
    opened = Study.load("flowers", workspace)
    assert opened.settings == study.settings
    assert opened.facts == FACTS
    assert opened.tracking_uri == "http://tracking"


def test_default_configurations_come_first(study: Study, workspace: Workspace, worker: Worker) -> None:
    for _ in range(3):
        Study.load("flowers", workspace).ready()
    assert study.trials() == []
    first = begin(worker)
    assert first.params == {STRATEGY: "full", "full/learning_rate": 1e-3, "full/batch_norm": "train"}
    later = [begin(worker) for _ in range(study.settings.planned_trials - 1)]
    second = next(trial for trial in later if trial.params[STRATEGY] == "scratch")
    assert second.params == {STRATEGY: "scratch", "scratch/learning_rate": 1e-3}
    Study.load("flowers", workspace).ready()
    assert len(study.trials()) == study.settings.trials


def test_names_are_listed_and_looking_makes_nothing(workspace: Workspace) -> None:
    assert study_names(workspace) == []
    assert not workspace.root.exists()
    for name in ("b", "a"):
        Study.create(make_settings(name=name), FACTS, workspace, None)
    assert study_names(workspace) == ["b", "a"]


def test_an_unknown_study_is_told_with_the_nearest(workspace: Workspace) -> None:
    with pytest.raises(InvalidInputError, match="frostline search"):
        Study.load("flowers", workspace)
    assert not workspace.root.exists()
    Study.create(make_settings(), FACTS, workspace, None)
    with pytest.raises(InvalidInputError, match="Did you mean 'flowers'"):
        Study.load("flower", workspace)


def test_a_study_that_was_not_finished_being_made_says_so(workspace: Workspace) -> None:
    optuna.create_study(study_name="half", storage=workspace.create().studies_url)
    with pytest.raises(InvalidInputError, match="--name"):
        Study.load("half", workspace)


# Cut off and gone on with


def test_a_trial_that_was_given_back_keeps_number_and_parameters(study: Study, workspace: Workspace) -> None:
    with open_worker(study) as worker:
        complete(worker, 0.5)
        cut_off = begin(worker)
        cut_off.report(0.4, 0)
        worker.write()
        assert [trial.state for trial in study.trials()] == ["complete", "running"]
    other = Study.load("flowers", workspace).ready()
    assert [trial.state for trial in other.trials()] == ["complete", "waiting"]
    with open_worker(other) as worker:
        again = begin(worker)
        assert (again.number, again.params) == (1, cut_off.params)
        assert worker.reported(again) == {0}
        assert worker.lease(again).lapses == 0
        worker.tell(again, 0.6, TrialState.COMPLETE)
    assert [(trial.number, trial.state, trial.score) for trial in other.trials()] == [
        (0, "complete", 0.5),
        (1, "complete", 0.6),
    ]


def test_a_sampled_trial_that_was_given_back_keeps_its_parameters(study: Study, workspace: Workspace) -> None:
    with open_worker(study) as worker:
        for score in (0.1, 0.2):
            complete(worker, score)
        cut_off = begin(worker)
        worker.write()
    with open_worker(Study.load("flowers", workspace).ready()) as worker:
        assert begin(worker).params == cut_off.params


def test_a_trial_whose_worker_is_gone_waits(study: Study) -> None:
    with open_worker(study) as worker:
        begin(worker)
        worker.write()
        [held] = study.tickets.held()
        study.database.run_with_retry(lambda session: tickets.expire(session, "flowers", [held.owner]))
        assert [trial.state for trial in study.trials()] == ["waiting"]


def test_a_budget_is_exact_for_many_workers(study: Study, workspace: Workspace) -> None:
    with ExitStack() as stack:
        workers = [stack.enter_context(open_worker(Study.load("flowers", workspace))) for _ in range(4)]
        trials = [(worker, begin(worker)) for worker in workers]
        assert [trial.number for _, trial in trials] == [0, 1, 2, 3]
        for worker, trial in trials:
            worker.tell(trial, 0.5, TrialState.COMPLETE)
        trials = [(worker, trial) for worker in workers for trial in worker.claim()]
        assert [trial.number for _, trial in trials] == [4, 5]
        assert not study.tickets.exhausted()
        for worker, trial in trials:
            trial.suggest_categorical(STRATEGY, ["full", "scratch"])
            worker.tell(trial, None, TrialState.FAIL)
        assert workers[3].claim() == []
        assert study.tickets.exhausted()
    assert [trial.state for trial in study.trials()] == ["complete"] * 4 + ["failed"] * 2


def test_what_a_worker_learns_of_the_others(study: Study, workspace: Workspace) -> None:
    with open_worker(study) as one, open_worker(Study.load("flowers", workspace)) as other:
        complete(one, 0.5)
        begin(other)
        seen = other._storage.get_all_trials(0, deepcopy=False)
        assert [(trial.number, trial.value) for trial in seen] == [(0, 0.5), (1, None)]


def test_who_lost_a_trial_writes_nothing_of_it(study: Study, workspace: Workspace) -> None:
    with open_worker(study) as slow, open_worker(Study.load("flowers", workspace)) as quick:
        mine = begin(slow)
        slow.write()
        [held] = study.tickets.held()
        study.database.run_with_retry(lambda session: tickets.expire(session, "flowers", [held.owner]))
        taken = begin(quick)
        assert (taken.number, taken.params) == (mine.number, mine.params)
        assert quick.lease(taken).lapses == 1

        def end() -> None:
            # A report is written with the end, or by itself if the last one was long ago.
            mine.report(0.9, 0)
            slow.tell(mine, 0.9, TrialState.COMPLETE)

        with pytest.raises(LeaseLostError):
            end()
        taken.report(0.4, 0)
        quick.tell(taken, 0.4, TrialState.COMPLETE)
        following = begin(slow)
        assert following.number == 1
    first, _ = study.trials()
    assert (first.score, first.curve) == (0.4, {0: 0.4})


def test_a_budget_is_kept(study: Study, workspace: Workspace) -> None:
    study.extend(study.settings.model_copy(update={"trials": 9}))
    opened = Study.load("flowers", workspace)
    assert opened.settings.trials == study.settings.trials == 9
    assert opened.settings.differences(make_settings()) == {"trials": (9, 6)}


# Read


def test_an_unfinished_study_says_who_works_on_it_and_how_to_go_on(study: Study, worker: Worker) -> None:
    complete(worker, 0.5)
    begin(worker)
    assert progress_sentence(study.results()) == "1 of 6 trials have ended. Workers: 1."
    study.wish.set(PAUSE)
    paused = study.results()
    assert (paused.state, paused.workers, paused.missing_finals) == ("trials", 1, None)
    resume = "frostline resume flowers --workspace w"
    said = progress_sentence(paused, " --workspace w")
    assert said == f"1 of 6 trials have ended. The study is paused. Continue: {resume}"
    worker.release()
    study.wish.set(RUN)
    said = progress_sentence(study.results(), " --workspace w")
    assert said == f"1 of 6 trials have ended. No worker is running. Resume it: {resume}"
    study.wish.set(STOP)
    assert "The study was stopped. Resume it: " in progress_sentence(study.results())


def test_trials_are_read_as_records(study: Study, worker: Worker) -> None:
    complete(worker, 0.75)
    pruned = begin(worker)
    for epoch, score in enumerate((0.3, 0.2)):
        pruned.report(score, epoch)
    worker.tell(pruned, None, TrialState.PRUNED)
    failed = begin(worker)
    failed.set_user_attr(OUTCOME, {"seconds": 1.0, "reason": "loss is nan"})
    worker.tell(failed, None, TrialState.FAIL)
    first, second, third = study.trials()
    assert (first.state, first.score, first.curve, first.seconds) == ("complete", 0.75, {0: 0.75}, 2.5)
    assert (first.trainable_parameters, first.freeze_depth) == (9, 0)
    assert first.config == {"learning_rate": 1e-3}
    assert first.finished is not None
    assert (second.state, second.score, second.curve) == ("pruned", 0.2, {0: 0.3, 1: 0.2})
    assert (third.state, third.score, third.reason) == ("failed", None, "loss is nan")


def test_results_are_plain_values_for_scripts(study: Study, worker: Worker) -> None:
    complete(worker, 0.75)
    described = json.loads(json.dumps(describe(study.results())))
    assert (described["study"], described["budget"], described["finished"]) == ("flowers", 6, 1)
    assert described["strategies"]["full"]["best"]["score"] == 0.75
    assert described["strategies"]["scratch"]["best"] is None
    assert described["verdict"] is None


def final_row(strategy: str, number: int) -> dict[str, Any]:
    """As earlier versions wrote it, with MLflow's id."""
    return {
        "strategy": strategy,
        "trial_number": number,
        "val_score": 0.5,
        "test_score": 0.5,
        "seconds": 1.0,
        "trainable_parameters": 5,
        "run_id": None,
    }


def add_final(study: Study, strategy: str, number: int, seed: int = 1000) -> None:
    outcome = final_row(strategy, number)
    study.finals.add(f"{strategy}-{number}", seed, outcome, np.array([0, 1]), PROBABILITIES)


def test_creating_a_study_is_quiet_and_leaves_optunas_verbosity_alone(workspace: Workspace) -> None:
    said = io.StringIO()
    handler = logging.StreamHandler(said)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logging.getLogger("optuna").addHandler(handler)
    try:
        Study.create(make_settings(name="quiet"), FACTS, workspace, None).close()
        assert optuna.logging.get_verbosity() == optuna.logging.INFO
        assert said.getvalue() == ""
        optuna.create_study()
        assert "A new study created" in said.getvalue()
    finally:
        logging.getLogger("optuna").removeHandler(handler)
        optuna.logging.set_verbosity(before)


def test_there_is_a_verdict_once_every_finalist_is_done(study: Study, worker: Worker) -> None:
    complete(worker, 0.5, "full")
    complete(worker, 0.6, "scratch")
    assert study.results().verdict is None
    add_final(study, "full", 0)
    assert study.results().verdict is None
    add_final(study, "scratch", 1)
    verdict = study.results().verdict
    assert verdict is not None
    assert verdict.test_images == 2
    full, _ = study.final_records()
    np.testing.assert_array_equal(full.probabilities, PROBABILITIES)
    assert full.predictions.tolist() == [0, 0]
    assert (full.metrics["accuracy"], full.metrics["auroc"]) == (0.5, 1.0)
    # A better trial of full: its finalist was not tested yet.
    complete(worker, 0.9, "full")
    assert [final.trial_number for final in study.results().finals] == [1]
    assert study.results().verdict is None


def test_finals_from_before_probabilities_were_kept_are_read_by_their_classes(study: Study, worker: Worker) -> None:
    complete(worker, 0.5, "full")
    complete(worker, 0.6, "scratch")
    add_final(study, "full", 0)
    add_final(study, "scratch", 1)
    with sqlite3.connect(study.workspace.root / "studies.db") as connection:
        connection.execute("ALTER TABLE frostline_finals DROP COLUMN probabilities")
        connection.execute("DROP TABLE frostline_migrations")
    connection.close()
    old = Study.load("flowers", study.workspace)
    record = old.final_records()[0]
    assert record.probabilities.tolist() == [[1, 0], [1, 0]]
    assert record.metrics == {"accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": pytest.approx(1 / 3)}
    verdict = old.results().verdict
    assert verdict is not None
    assert [contender.mean for contender in verdict.contenders] == [0.5, 0.5]
    add_final(old, "full", 0, seed=1001)
    assert [final.classes_only for final in old.final_records()] == [True, True, False]


def test_a_damaged_page_of_the_database_is_said_or_does_no_harm(workspace: Workspace, study: Study) -> None:
    study.close()
    file = workspace.root / "studies.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    good, page = file.read_bytes(), 4096
    said: list[str] = []
    for start in range(0, len(good), page):
        file.write_bytes(good[:start] + b"\xa5" * page + good[start + page :])
        try:
            # Whatever is wrong, it is no other error.
            opened = Study.load("flowers", workspace)
            opened.results()
            opened.close()
        except StorageError as error:
            said.append(str(error))
        for beside in workspace.root.glob("studies.db-*"):
            beside.unlink()
    assert len(said) > 3
    assert all(str(file) in each for each in said)
    file.write_bytes(good)
    assert Study.load("flowers", workspace).settings == study.settings


def test_finals_are_known_by_strategy_trial_and_seed(study: Study) -> None:
    add_final(study, "full", 3, seed=1001)
    add_final(study, "lp_ft", 2)
    assert study.final_identities() == [("full", 3, 1001), ("lp_ft", 2, 1000)]
    assert [scores.identity for scores in study.final_scores()] == study.final_identities()
    record = study.final_record("lp_ft", 2, 1000)
    assert record.identity == ("lp_ft", 2, 1000)
    np.testing.assert_array_equal(record.probabilities, PROBABILITIES)
    with pytest.raises(KeyError):
        study.final_record("lp_ft", 2, 1001)


def test_a_row_is_read_as_it_was_written() -> None:
    scores = FinalScores.from_row({**final_row("full", 3), "added_later": [1]}, seed=1000)
    assert scores == FinalScores("full", 3, 1000, 0.5, 0.5, 1.0, 5)
    assert FinalScores.from_row(scores.to_row(), seed=1000) == scores
    # What is in databases already, by name.
    known = {name: value for name, value in final_row("full", 3).items() if name != "run_id"}
    assert scores.to_row() == {
        **known,
        "temperature": None,
        "measured": {},
        "device_seconds": None,
        "latency": None,
        "size": None,
    }
    measured = FinalScores.from_row({**known, "measured": {"peak_memory_mb": 7.5}}, seed=1000)
    assert FinalScores.from_row(measured.to_row(), seed=1000).measured == {"peak_memory_mb": 7.5}


def test_a_final_without_its_scores_is_reported(study: Study) -> None:
    row = final_row("full", 3)
    del row["val_score"], row["seconds"]
    study.finals.add("full-3", 1000, row, np.array([0, 1]), PROBABILITIES)
    for read in (study.final_scores, study.final_records):
        with pytest.raises(StorageError, match=r"'full', seed 1000, without val_score, seconds: another version"):
            read()
    # Its identity is known all the same.
    assert study.final_identities() == [("full", 3, 1000)]


def trial(number: int, strategy: str, score: float | None, state: str = "complete") -> TrialRecord:
    return TrialRecord(number, state, strategy, score=score, seconds=1.0)


def final(strategy: str, number: int) -> FinalRecord:
    return FinalRecord(strategy, number, 1000, 0.5, 0.5, 1.0, 5, np.array([0, 1]), PROBABILITIES)


def test_finals_of_trials_that_were_overtaken_are_left_out(study: Study, worker: Worker) -> None:
    for strategy, score in (("full", 0.5), ("scratch", 0.4), ("full", 0.7)):
        complete(worker, score, strategy)
    finals = [final("full", 0), final("scratch", 1), final("full", 2)]
    for each in finals:
        study.finals.add(each.finalist, each.seed, each.to_row(), each.labels, each.probabilities)
    results = study.results()
    assert [(kept.strategy, kept.trial_number) for kept in results.finals] == [("scratch", 1), ("full", 2)]
    assert results.candidate_finals == ()
