"""Trials read from rows: the same as Optuna's own storage gives, whatever is in them, again and again."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from frostline.search.records import STRATEGY
from frostline.search.study import optuna_rows
from frostline.search.study.optuna_storage import open_storage
from frostline.search.study.stored_records import OUTCOME, STARTED, record_of_row, trial_record
from frostline.search.study.trial_rows import TrialReader
from frostline.storage.database import Database
from frostline.storage.workspace import Workspace


def act(study: optuna.Study, number: int) -> None:
    """A trial of one of some kinds."""
    trial = study.ask()
    if number % 7 == 6:
        return
    trial.suggest_categorical(STRATEGY, ["full", "partial"])
    trial.suggest_float("full/learning_rate", 1e-4, 1e-1, log=True)
    trial.set_user_attr(STARTED, {"config": {"strategy": "full", "epochs": number}, "epochs": 3})
    for step in (1, 0, 2):
        trial.report(math.nan if number == 3 else math.inf if number == 4 else 0.1 * step, step)
    if number % 7 == 5:
        return
    trial.set_user_attr(OUTCOME, {"seconds": 1.5, "reason": "é" if number % 2 else "\udcff.png"})
    state = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)[number % 3]
    study.tell(trial, 0.1 * number if state == TrialState.COMPLETE else None, state=state)


def test_rows_say_what_optuna_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace(tmp_path).create()
    storage = open_storage(workspace)
    for name in ("other", "tiny"):
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        act(study, 0)
    database = Database(workspace.studies_url)
    reader = TrialReader(study._study_id, STRATEGY)
    for number in range(1, 16):
        act(study, number)
        read = [record_of_row(row, {5}) for row in database.run_with_retry(reader.read)]
        # As another process reads it.
        expected = optuna.load_study(study_name="tiny", storage=open_storage(workspace)).get_trials(deepcopy=False)
        # NaN is not equal to itself.
        assert repr(read) == repr([trial_record(trial, {5}) for trial in expected])
    running = study.get_trials(states=(TrialState.RUNNING,))[-1]
    study.tell(running.number, 0.7)
    ended = record_of_row(database.run_with_retry(reader.read)[running.number])
    assert (ended.state, ended.score) == ("complete", 0.7)
    database.engine.dispose()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Kathmandu"])
def test_local_times_are_those_of_the_system_all_year(zone: str, set_zone: Callable[[str], None]) -> None:
    set_zone(zone)
    for half_hour in range(2 * 24 * 366):
        stored = datetime(2026, 1, 1, 0, 0, 59, 999999) + timedelta(minutes=30 * half_hour)
        expected = datetime.fromtimestamp(stored.replace(tzinfo=UTC).timestamp())
        assert optuna_rows.local_time(stored) == expected
