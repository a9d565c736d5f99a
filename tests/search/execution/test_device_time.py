"""The budget of device seconds: counted once, spent to the epoch, by several workers and across kills."""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from frostline.search.execution.device_time import BudgetSpentError, DeviceTime
from frostline.search.execution.run import resume, run_search
from frostline.search.execution.worker import Worker, open_worker
from frostline.search.records import BUDGET, STRATEGY, TrialRecord
from frostline.search.slots.resources import Resources
from frostline.search.study.extension import Extension
from frostline.search.study.observer import Observer
from frostline.search.study.request import Request
from frostline.search.study.stored_records import OUTCOME, STARTED
from frostline.search.study.study import Study
from frostline.storage.database import tickets
from frostline.storage.workspace import Workspace

from ...few_digits import few_digits
from ..study.test_study import FACTS, make_settings

EPOCHS = 8
# Tickets at a time.
AHEAD = 4
COMMAND = "import sys; from frostline.dashboards.cli import main; sys.argv[0] = 'frostline'; main()"


class Clock:
    """A clock that stands still between the epochs of a simulation."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def started(workspace: Workspace, budget: float, trials: int | None = None) -> Study:
    return Study.create(make_settings(trials=trials, budget=budget), FACTS, workspace, None)


class SimulatedWorker:
    """A worker whose epochs take simulated time.

    Args:
        worker: Worker of the study.
        clock: Clock that all workers share.
        lengths: Draws the lengths of epochs.
        mean: Their mean, seconds.
    """

    def __init__(self, worker: Worker, clock: Clock, lengths: np.random.Generator, mean: float = 0.4) -> None:
        self.worker = worker
        self._clock = clock
        self._lengths = lengths
        self.mean = mean
        self._time = DeviceTime(worker, Observer(), clock)
        self.trial: optuna.Trial | None = None
        self.epoch = 0
        self.ends = 0.0
        # Begin and end of each epoch.
        self.epochs: list[tuple[float, float]] = []

    def next(self) -> None:
        """Begin the next epoch at the present time: of the trial in hand, or of a new one."""
        if self.trial is None:
            claimed = self.worker.claim()
            if not claimed:
                return None
            [self.trial] = claimed
            self.trial.suggest_categorical(STRATEGY, list(self.worker.study.settings.strategies))
            self.trial.set_user_attr(STARTED, {"config": {}, "epochs": EPOCHS})
            self.epoch = len(self.worker.reported(self.trial))
            self._time.begin()
            try:
                self._time.require(self.trial)
            except BudgetSpentError:
                return self._end(TrialState.PRUNED)
        self.ends = self._clock.now + float(self._lengths.exponential(self.mean))
        self.epochs.append((self._clock.now, self.ends))
        return None

    def finish_epoch(self) -> None:
        assert self.trial is not None
        self._time.spend(self.trial)
        self.trial.report(0.5 + 0.01 * self.epoch, self.epoch)
        self.epoch += 1
        if self.epoch == EPOCHS:
            return self._end(TrialState.COMPLETE)
        try:
            self._time.require(self.trial)
        except BudgetSpentError:
            return self._end(TrialState.PRUNED)
        return self.next()

    def _end(self, state: TrialState) -> None:
        assert self.trial is not None
        outcome = {"seconds": 1.0} | ({"ended_by": BUDGET} if state == TrialState.PRUNED else {})
        self.trial.set_user_attr(OUTCOME, outcome)
        self.worker.tell(self.trial, 0.5 if state == TrialState.COMPLETE else None, state)
        self.trial = None
        self.next()


def simulate(workers: list[SimulatedWorker], clock: Clock, until: float = np.inf) -> None:
    """Let workers work until nothing is left for them, or for so long."""
    for each in workers:
        if each.trial is None:
            each.next()
    while busy := [each for each in workers if each.trial is not None]:
        first = min(busy, key=lambda each: each.ends)
        if first.ends > until:
            return
        clock.now = first.ends
        first.finish_epoch()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_worker_begins_an_epoch_when_the_budget_is_spent(tmp_path: Path, count: int, seed: int) -> None:
    study, clock, rng = started(Workspace(tmp_path), budget=9.0), Clock(), np.random.default_rng(seed)
    with ExitStack() as stack:
        workers = [
            SimulatedWorker(stack.enter_context(open_worker(Study.load("flowers", study.workspace))), clock, rng)
            for _ in range(count)
        ]
        simulate(workers, clock)
    epochs = [epoch for each in workers for epoch in each.epochs]
    for began, _ in epochs:
        assert sum(end - begin for begin, end in epochs if end <= began) < 9.0
    used = study.tickets.use().seconds
    assert used == pytest.approx(sum(end - begin for begin, end in epochs))
    # Each overran it by its last epoch at most: without these, it was not spent.
    assert 9.0 <= used < 9.0 + sum(end - begin for begin, end in (each.epochs[-1] for each in workers))
    assert study.search_ended()
    assert not study.tickets.held()
    assert {trial.state for trial in study.trials()} <= {"complete", "pruned"}


def test_seconds_count_once_across_kills(tmp_path: Path) -> None:
    study, clock, rng = started(Workspace(tmp_path), budget=20.0), Clock(), np.random.default_rng(0)
    with open_worker(Study.load("flowers", study.workspace)) as first:
        killed = SimulatedWorker(first, clock, rng)
        simulate([killed], clock, until=7.0)
        assert killed.trial is not None
        number, epoch = killed.trial.number, killed.epoch
        first.write()
        before = study.tickets.use().seconds
        # What it knows and has not written is lost with it.
        first.spend(killed.trial, 100.0)
        study.database.run_with_retry(
            lambda session: tickets.expire(session, "flowers", [study.tickets.held()[0].owner])
        )
        with open_worker(Study.load("flowers", study.workspace)) as second:
            other = SimulatedWorker(second, clock, rng)
            began = clock.now
            other.next()
            assert other.trial is not None
            assert (other.trial.number, other.epoch) == (number, epoch)
            simulate([other], clock)
            with pytest.raises(Exception, match="another worker"):
                first.write()
    assert study.tickets.use().seconds == pytest.approx(before + clock.now - began)
    assert study.tickets.use().seconds >= 20.0


def test_a_trial_that_was_cut_off_when_the_budget_ended_ends_with_what_it_has(tmp_path: Path) -> None:
    study, clock = started(Workspace(tmp_path), budget=5.0), Clock()
    with open_worker(study) as worker:
        one = SimulatedWorker(worker, clock, np.random.default_rng(1))
        one.next()
        trial = one.trial
        assert trial is not None
        trial.report(0.7, 0)
        trial.report(0.6, 1)
        worker.spend(trial, 6.0)
        worker.write()
        worker.release()
    assert study.tickets.use().seconds == 6.0
    assert not study.search_ended()
    with open_worker(Study.load("flowers", study.workspace)) as worker:
        simulate([SimulatedWorker(worker, clock, np.random.default_rng(2))], clock)
    [ended] = Study.load("flowers", study.workspace).trials()
    assert (ended.state, ended.ended_by, ended.score) == ("pruned", BUDGET, 0.7)
    assert study.search_ended()


def test_only_the_budget_limits_trials_where_none_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frostline.search.study.trial_supply.AHEAD", AHEAD)
    study, clock = started(Workspace(tmp_path), budget=60.0), Clock()
    with open_worker(study) as worker:
        simulate([SimulatedWorker(worker, clock, np.random.default_rng(0), mean=0.8)], clock)
    assert len(study.trials()) > AHEAD
    assert study.tickets.use().seconds >= 60.0
    assert [trial.number for trial in study.trials()] == list(range(len(study.trials())))


def test_the_number_of_trials_ends_a_search_before_its_budget(tmp_path: Path) -> None:
    study, clock = started(Workspace(tmp_path), budget=300.0, trials=4), Clock()
    with open_worker(study) as worker:
        simulate([SimulatedWorker(worker, clock, np.random.default_rng(0))], clock)
    assert len(study.trials()) == 4
    assert study.search_ended()
    assert study.tickets.use().seconds < 300.0


def test_trials_are_sampled_alike_whatever_the_budget_and_the_time_they_take(tmp_path: Path) -> None:
    drawn = []
    for place, (budget, length) in enumerate([(12.0, 0.4), (30.0, 0.7)]):
        study, clock = started(Workspace(tmp_path / str(place)), budget), Clock()
        with open_worker(study) as worker:
            simulate([SimulatedWorker(worker, clock, np.random.default_rng(place), length)], clock)
        drawn.append([trial.strategy for trial in study.trials()])
    shared = min(map(len, drawn))
    assert shared >= 3
    assert drawn[0][:shared] == drawn[1][:shared]
    # The control has its first trial before any other strategy has its second.
    assert set(drawn[0][:2]) == {"full", "scratch"}


def test_a_study_of_an_older_version_has_no_budget_and_can_get_one(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    study = Study.create(make_settings(trials=6), FACTS, workspace, None)
    text = study.inner.user_attrs["frostline:settings"]
    assert '"budget":null' in text
    study.inner.set_user_attr("frostline:settings", text.replace('"budget":null,', ""))
    with open_worker(study) as worker:
        trial = SimulatedWorker(worker, Clock(), np.random.default_rng(0))
        trial.next()
        trial._end(TrialState.COMPLETE)
        worker.release()
    with study.database.session() as session:
        session.execute(tickets.update(tickets.TICKETS).values(used_seconds=None))
    old = Study.load("flowers", workspace)
    assert old.settings.budget is None
    assert old.settings == make_settings(trials=6)
    assert old.tickets.use().seconds == 0.0
    extended = Extension(budget="20m").of(old)
    assert extended is not None
    old.extend(extended)
    assert Study.load("flowers", workspace).settings.budget == 1200.0
    # The seconds of the trial that had ended.
    assert old.tickets.use().seconds == 1.0


# Real searches


SPACE = """
[shared]
epochs = {epochs}
patience = 999
batch_size = 16
[feature_extraction]
[full]
"""


def request(folder: Path, **more: object) -> Request:
    folder.mkdir(exist_ok=True)
    space = folder / "space.toml"
    space.write_text(SPACE.format(epochs=more.pop("epochs", 200)))
    values = {"data": few_digits(), "backbone": "tiny_network:create", "weights": "none", "image_size": 32}
    values |= {"name": "tiny", "space": space, "device": "cpu", "finals_seeds": 1, "candidates": 1, "audit": False}
    return Request(**{**values, **more})  # pyright: ignore[reportArgumentType]


class Ended(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.used: list[float] = []
        self.trials: list[TrialRecord] = []

    def budget_used(self, seconds: float) -> None:
        self.used.append(seconds)

    def trial_finished(self, trial: TrialRecord) -> None:
        self.trials.append(trial)


def test_a_trial_in_which_the_budget_ends_can_be_the_finalist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each look at the clock costs a second; an epoch is one look.
    ticks = itertools.count()
    ticking = functools.partial(DeviceTime, clock=lambda: float(next(ticks)))
    monkeypatch.setattr("frostline.search.execution.session.DeviceTime", ticking)
    # What the probe measures is not in these seconds.
    monkeypatch.setattr("frostline.search.study.prepare.require_budget", lambda *given: None)
    seen = Ended()
    study = run_search(request(tmp_path, budget="50s", epochs=12), Workspace(tmp_path / "ws"), seen)
    results = study.results()
    assert results.state == "finished"
    last = seen.trials[-1]
    assert (last.state, last.ended_by) == ("pruned", BUDGET)
    assert last.reason is not None
    assert last.reason.startswith("the budget ended after epoch ")
    assert last.score == max(last.curve.values())
    assert len(last.curve) < 12
    assert results.used_seconds >= 50.0
    assert 50.0 <= seen.used[-1] <= results.used_seconds
    assert results.verdict is not None
    assert {contender.strategy for contender in results.verdict.contenders} == {"feature_extraction", "full"}
    number = len(study.trials())
    again = resume("tiny", study.workspace, Observer(), budget="+30s", resources=Resources(device="cpu"))
    assert again.settings.budget == 80.0
    assert again.tickets.use().seconds >= 80.0
    assert len(again.trials()) > number
    # What had ended stays as it was.
    assert [trial.curve for trial in again.trials()[:number]] == [trial.curve for trial in results.trials]


@pytest.mark.slow
def test_a_killed_search_resumes_within_its_budget(tmp_path: Path, tracking_database: Path) -> None:
    (tmp_path / "ws").mkdir()
    shutil.copy(tracking_database, tmp_path / "ws")
    asked = request(tmp_path)
    options = ["-b", asked.backbone, "--weights", "none", "--image-size", "32", "--space", str(asked.space)]
    options += ["--name", "tiny", "--device", "cpu", "--seeds", "1", "--candidates", "1", "--no-audit"]
    where = ["-w", str(tmp_path / "ws")]
    command = [sys.executable, "-c", COMMAND, "search", asked.data, *options, "--budget", "12s", "--workers", "2"]
    leader = subprocess.Popen([*command, *where], start_new_session=True)
    workspace, deadline = Workspace(tmp_path / "ws"), time.monotonic() + 120
    used = 0.0
    while used < 4.0 and time.monotonic() < deadline:
        time.sleep(0.2)
        if (tmp_path / "ws" / "studies.db").exists():
            try:
                used = Study.load("tiny", workspace).tickets.use().seconds
            except Exception:
                continue
    os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()
    before = Study.load("tiny", workspace).tickets.use().seconds
    assert 4.0 <= before < 12.0
    study = resume("tiny", workspace, Observer(), resources=Resources(device="cpu", workers=2))
    trials, after = study.trials(), study.tickets.use().seconds
    assert study.results().state == "finished"
    assert {trial.state for trial in trials} <= {"complete", "pruned"}
    longest = max(trial.seconds / len(trial.curve) for trial in trials if trial.seconds and trial.curve)
    # Two workers overrun by an epoch each; a first epoch has more to do.
    assert 12.0 <= after <= 12.0 + 2 * (20 * longest + 1.0)
