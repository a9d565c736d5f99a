"""A study watched from elsewhere: told as it changes, whoever changes it, until it is finished or left alone."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from sqlalchemy import event
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews
from frostline.objectives.epochs import EpochResult
from frostline.search.cli.main import app
from frostline.search.execution.worker import Worker, open_worker
from frostline.search.records import STRATEGY, FinalScores, TrialRecord
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.facts import StudyFacts
from frostline.search.study.observer import LineProgress, Observer
from frostline.search.study.settings import StudySettings
from frostline.search.study.stored_records import OUTCOME, STARTED
from frostline.search.study.study import Study
from frostline.search.study.watch import Watcher, watch_study
from frostline.storage.database.control import PAUSE, RUN, STOP
from frostline.storage.timing import Timing
from frostline.storage.workspace import Workspace

# Only workers that are at work count.
PRESENT = Timing(watch_recent=0.0)
FACTS = StudyFacts(("daisy", "rose"), {"train": 7, "val": 2, "test": 2}, "9f86", (), ("stem",), (0.0, 1.0))
LABELS, PROBABILITIES = np.array([0, 1]), np.array([[0.9, 0.1], [0.6, 0.4]], dtype=np.float32)


class Told(Observer):
    """Keeps the calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.closed = False

    def take(self) -> list[tuple[Any, ...]]:
        taken, self.calls = self.calls, []
        return taken

    def study_started(self, settings: StudySettings, trials: list[TrialRecord]) -> None:
        self.calls.append(("study", settings.trials, [trial.number for trial in trials]))

    def workers_at_work(self, count: int) -> None:
        self.calls.append(("workers", count))

    def note(self, message: str) -> None:
        self.calls.append(("note", message))

    def trial_started(self, number: int, strategy: str, epochs: int) -> None:
        self.calls.append(("started", number, strategy, epochs))

    def epoch_finished(self, number: int, result: EpochResult) -> None:
        self.calls.append(("epoch", number, result.epoch, result.score))

    def trial_finished(self, trial: TrialRecord) -> None:
        self.calls.append(("finished", trial.number, trial.state, trial.score))

    def trial_cut_off(self, number: int) -> None:
        self.calls.append(("cut off", number))

    def final_started(self, finalist: str, seed: int, place: int, total: int) -> None:
        self.calls.append(("final", finalist, seed, place, total))

    def final_finished(self, final: FinalScores) -> None:
        self.calls.append(("final finished", final.strategy, final.seed, final.test_score))

    def final_cut_off(self, finalist: str, seed: int) -> None:
        self.calls.append(("final cut off", finalist, seed))

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def study(tmp_path: Path) -> Study:
    settings = StudySettings(
        name="flowers",
        data="photos",
        backbone="resnet18",
        weights="none",
        image_size=64,
        trials=2,
        metric="accuracy",
        seed=0,
        finals_seeds=1,
        space=resolve_space(create_space({"full": {"learning_rate": 1e-3}, "scratch": {"epochs": 3}}), 1),
    )
    return Study.create(settings, FACTS, Workspace(tmp_path / "workspace", timing=PRESENT), None)


@pytest.fixture
def worker(study: Study) -> Iterator[Worker]:
    with open_worker(study) as worker:
        yield worker


def begin(worker: Worker) -> optuna.Trial:
    [trial] = worker.claim()
    strategy = trial.suggest_categorical(STRATEGY, list(worker.study.settings.strategies))
    worker.study.settings.space.suggest(trial, strategy)
    trial.set_user_attr(STARTED, {"config": {"strategy": strategy}, "epochs": 5})
    worker.write()
    return trial


def report(worker: Worker, trial: optuna.Trial, epoch: int, score: float) -> None:
    trial.report(score, epoch)
    worker.write()


def complete(worker: Worker, trial: optuna.Trial, score: float) -> None:
    trial.set_user_attr(OUTCOME, {"seconds": 2.5, "trainable_parameters": 9, "freeze_depth": 0})
    worker.tell(trial, score, TrialState.COMPLETE)


def finish_final(study: Study, strategy: str, number: int, lease: Any = None) -> None:
    outcome = {"strategy": strategy, "trial_number": number, "val_score": 0.5, "test_score": 0.5}
    outcome |= {"seconds": 1.0, "trainable_parameters": 9}
    study.finals.add(f"{strategy}-{number}", 1000, outcome, LABELS, PROBABILITIES, lease)


def test_trials_and_finals_of_several_workers_are_told_from_the_database(study: Study, worker: Worker) -> None:
    told = Told()
    watcher = Watcher(Study.load("flowers", study.workspace), told)
    watcher.look()
    assert told.take() == [("study", 2, []), ("workers", 0)]
    assert watcher.idle_seconds >= 0
    first = begin(worker)
    with open_worker(study) as other:
        second = begin(other)
        watcher.look()
        assert told.take() == [("workers", 2), ("started", 0, "full", 5), ("started", 1, "scratch", 5)]
        report(worker, first, 0, 0.25)
        report(worker, first, 1, 0.5)
        report(other, second, 0, 0.125)
        watcher.look()
        watcher.look()
        assert told.take() == [("epoch", 0, 1, 0.5), ("epoch", 1, 0, 0.125)]
        complete(worker, first, 0.5)
    watcher.look()
    assert told.take() == [("workers", 0), ("finished", 0, "complete", 0.5), ("cut off", 1)]
    second = begin(worker)
    watcher.look()
    assert told.take() == [("workers", 1), ("started", 1, "scratch", 5), ("epoch", 1, 0, 0.125)]
    complete(worker, second, 0.75)
    assert not watcher.finished
    watcher.look()
    assert told.take() == [("workers", 0), ("finished", 1, "complete", 0.75)]
    study.final_tickets.issue_for(["full-0 1000", "scratch-1 1000"])
    full = worker.claim_final()
    assert full is not None
    watcher.look()
    assert told.take() == [("workers", 1), ("final", "full-0", 1000, 1, 2)]
    finish_final(study, "full", 0, full)
    worker.ended_final(full)
    scratch = worker.claim_final()
    watcher.look()
    assert told.take() == [("final finished", "full", 1000, 0.5), ("final", "scratch-1", 1000, 2, 2)]
    assert not watcher.finished
    assert scratch is not None
    finish_final(study, "scratch", 1, scratch)
    worker.ended_final(scratch)
    watcher.look()
    assert told.take() == [("workers", 0), ("final finished", "scratch", 1000, 0.5)]
    assert watcher.finished
    study.extend(study.settings.model_copy(update={"trials": 3}))
    watcher.look()
    assert told.take()[0] == ("study", 3, [0, 1])
    assert not watcher.finished


def seen(study: Study, timing: Timing) -> Study:
    """The study as a process with another timing sees it."""
    return Study.load(study.settings.name, replace(study.workspace, timing=timing))


def test_a_worker_between_two_trials_is_counted(study: Study) -> None:
    told = Told()
    watcher = Watcher(seen(study, Timing(watch_recent=0.3)), told)
    with open_worker(study) as worker:
        begin(worker)
        watcher.look()
    watcher.look()
    assert [call for call in told.take() if call[0] == "workers"] == [("workers", 1)]
    time.sleep(0.4)
    watcher.look()
    assert told.take() == [("workers", 0)]


def test_following_a_study_reads_no_predictions(study: Study, worker: Worker) -> None:
    for score in (0.5, 0.75):
        complete(worker, begin(worker), score)
    finish_final(study, "full", 0)
    watcher, statements = Watcher(study, told := Told()), list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(study.database.engine, "before_cursor_execute", note)
    watcher.look()
    assert told.take()[-1] == ("final finished", "full", 1000, 0.5)
    assert not study.decided()
    finish_final(study, "scratch", 1)
    assert study.decided()
    assert study.complete()
    read = [each for each in statements if each.startswith("SELECT") and "frostline_finals" in each]
    assert read
    assert not any(column in each for each in read for column in ("labels", "predictions", "probabilities"))
    assert study.results().decided


def test_a_final_that_is_cut_off_is_told(study: Study, worker: Worker) -> None:
    for score in (0.5, 0.75):
        complete(worker, begin(worker), score)
    study.final_tickets.issue_for(["full-0 1000", "scratch-1 1000"])
    told = Told()
    with open_worker(study) as other:
        other.claim_final()
        watcher = Watcher(study, told)
        watcher.look()
        assert told.take()[-1] == ("final", "full-0", 1000, 1, 2)
    watcher.look()
    assert told.take() == [("workers", 0), ("final cut off", "full-0", 1000)]


def test_wishes_are_told_and_a_stop_ends_the_watch_once_nobody_works(study: Study, worker: Worker) -> None:
    told = Told()
    watcher = Watcher(study, told)
    for wish in (PAUSE, RUN):
        study.wish.set(wish)
        watcher.look()
    assert [call for call in told.take() if call[0] == "note"] == [
        ("note", "the study is paused"),
        ("note", "the study continues"),
    ]
    study.wish.set(STOP)
    said = watch_study(study, told)
    assert "was stopped" in said
    assert f"frostline resume flowers --workspace {study.workspace.root}" in said
    assert told.closed


def test_a_study_that_nobody_works_on_is_watched_for_a_while(study: Study) -> None:
    study = seen(study, Timing(watch=0.1, watch_idle=0.3))
    began = time.monotonic()
    assert "no worker is running. Resume it: frostline resume flowers" in watch_study(study, Told())
    assert time.monotonic() - began > 0.3


def finish(study: Study, worker: Worker) -> None:
    for score in (0.5, 0.75):
        complete(worker, begin(worker), score)
    finish_final(study, "full", 0)
    finish_final(study, "scratch", 1)


def test_without_a_terminal_lines_say_what_changed(study: Study, worker: Worker) -> None:
    complete(worker, begin(worker), 0.5)
    lines: list[str] = []
    watcher = Watcher(study, LineProgress(lines.append))
    watcher.look()
    complete(worker, begin(worker), 0.75)
    watcher.look()
    watcher.look()
    assert lines == [
        "study flowers: 2 trials of 2 strategies, 1 done",
        "trial 2/2 scratch complete 0.7500 in 2.5 s",
    ]


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments, obj=TerminalViews())


def test_watching_a_finished_study_ends_with_its_verdict(study: Study, worker: Worker) -> None:
    finish(study, worker)
    result = invoke("status", "flowers", "--watch", "--workspace", str(study.workspace.root))
    assert result.exit_code == 0, result.output
    assert study.results().verdict is not None
    assert "final full-0 seed 1000 test 0.5000" in result.stdout
    assert "leads with 50.0 % test accuracy" in result.stdout


def test_what_cannot_be_watched_is_refused_with_what_to_type(study: Study) -> None:
    place = str(study.workspace.root)
    result = invoke("status", "--watch", "--json", "--workspace", place)
    assert result.exit_code == 2
    assert "leave one out" in result.stderr
    assert "frostline status STUDY --watch. There are: flowers" in result.stderr
    assert invoke("status", "flower", "--watch", "--workspace", place).exit_code == 2


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_the_view_in_a_terminal_and_leaves_it_as_it_was(study: Study, number: int) -> None:
    with open_worker(study) as worker:
        trial = begin(worker)
        report(worker, trial, 1, 0.875)
        code, shown = watch_in_terminal(study, "trial 0 full: epoch 2/5, 87.5 %", number)
    assert code == 130, shown
    assert "1 worker" in shown
    assert "Stopped watching flowers" in shown
    assert "Traceback" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def watch_in_terminal(study: Study, awaited: str, number: int) -> tuple[int, str]:
    """Watch a study in a pseudo-terminal of 80 columns until it shows something, then send a signal.

    Returns:
        Exit code, and all that was written.
    """
    ours, theirs = pty.openpty()
    script = "from frostline.dashboards.cli import main; main()"
    arguments = ["status", "flowers", "--watch", "--workspace", str(study.workspace.root)]
    size = {"COLUMNS": "80", "LINES": "24", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | size
    )
    os.close(theirs)
    shown, sent = "", False
    while True:
        try:
            shown += os.read(ours, 65536).decode(errors="replace")
        except OSError:
            break
        if not sent and awaited in shown:
            process.send_signal(number)
            sent = True
    os.close(ours)
    return process.wait(30), shown
