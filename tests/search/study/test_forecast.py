"""Forecasts: the trials that a budget leaves, and budgets that leave too few."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from frostline.dashboards.cli import TerminalViews, app
from frostline.objectives.errors import InvalidInputError
from frostline.search.durations import write_duration
from frostline.search.records import TrialRecord
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.extension import Extension
from frostline.search.study.forecast import forecast_search, require_budget, trials_left
from frostline.search.study.progress import progress_sentence
from frostline.search.study.results import StudyResults
from frostline.search.study.settings import StudySettings
from frostline.search.study.study import Study
from frostline.storage.workspace import Workspace

from ...bad_inputs.rows import pictures
from ..analysis.test_trial_seconds import MODEL, PROBE, planned
from .test_study import FACTS, make_settings

UNITS = 3
SPACE = {"shared": {"epochs": 4}, "feature_extraction": {}, "full": {}, "scratch": {}}
FACTS_OF_PROBE = replace(FACTS, units=("a", "b", "c"), counts={"train": 320, "val": 100, "test": 2})


def settings(budget: float | None, trials: int | None = None) -> StudySettings:
    return make_settings(budget=budget, trials=trials, space=resolve_space(create_space(SPACE), UNITS))


def test_a_budget_ends_a_search_when_its_trials_have_used_it() -> None:
    full, heads = MODEL.seconds(planned("full")), MODEL.seconds(planned("feature_extraction"))
    foreseen = forecast_search(settings(heads + 2 * full), UNITS, MODEL)
    assert {each.strategy: each.trials for each in foreseen.strategies} == {
        "feature_extraction": 1,
        "full": 1,
        "scratch": 1,
    }
    assert foreseen.by_budget
    assert foreseen.seconds == pytest.approx(heads + 2 * full)
    [first, second, _] = foreseen.strategies
    assert (first.first, second.first) == (pytest.approx(heads), pytest.approx(full))
    # Later trials find the features.
    assert first.later < first.first
    assert second.later == pytest.approx(second.first)


def test_the_limit_that_is_reached_first_ends_a_search() -> None:
    few = forecast_search(settings(10_000.0, trials=12), UNITS, MODEL)
    assert (few.by_budget, few.trials) == (False, 12)
    assert "number of trials ends" in few.sentence
    short = forecast_search(settings(100.0, trials=1000), UNITS, MODEL)
    assert short.by_budget
    assert 3 <= short.trials < 1000
    assert all(each.trials for each in short.strategies)
    assert "the budget ends" in short.sentence
    longer = forecast_search(settings(100_000.0), UNITS, MODEL)
    assert longer.by_budget
    mean = longer.seconds / longer.trials
    assert 100_000 / mean == pytest.approx(longer.trials, rel=0.01)


def test_a_budget_too_small_for_each_strategy_names_those_that_could_not_be_judged() -> None:
    full, heads = MODEL.seconds(planned("full")), MODEL.seconds(planned("feature_extraction"))
    require_budget(settings(heads + 2 * full + 1), UNITS, MODEL)
    require_budget(settings(None, trials=3), UNITS, MODEL)
    with pytest.raises(InvalidInputError) as refused:
        require_budget(settings(heads + 1), UNITS, MODEL)
    said = str(refused.value)
    assert "full, scratch could not be judged" in said
    assert "feature_extraction" not in said
    assert f"up to about {write_duration(heads + 2 * full)} on this device" in said
    needed = said.split("Give --budget ")[1].split(" or more")[0]
    again = Extension(budget=needed).budget_of(settings(None, trials=3))
    assert again is not None
    require_budget(settings(again), UNITS, MODEL)


def test_what_is_left_of_a_budget_is_said_in_trials() -> None:
    asked = settings(1000.0)
    results = StudyResults(asked, FACTS_OF_PROBE, (), (), "", {}, used_seconds=900.0, speed=PROBE)
    more = trials_left(results)
    assert more is not None
    assert 5 <= more <= 30
    said = progress_sentence(results)
    assert "15 min 00 s of the budget of 16 min 40 s is used" in said
    assert f"enough for about {more} more trials" in said
    assert trials_left(replace(results, speed=None)) is None
    spent = replace(results, used_seconds=1001.0, trials=(TrialRecord(0, "complete"),))
    assert trials_left(spent) == 0
    assert "nothing is left" in progress_sentence(spent)


def test_extensions_only_grow_and_say_why_they_add_nothing(tmp_path: Path) -> None:
    study = Study.create(settings(60.0), FACTS, Workspace(tmp_path), None)
    assert Extension().of(study) is None
    assert Extension(budget="60s").of(study) is None
    extended = Extension(budget="+10m").of(study)
    assert extended is not None
    assert extended.budget == 660.0
    for asked, *words in (
        (Extension(budget="30s"), "below the study's 1m", "+10m"),
        (Extension(trials=9), "no limit of trials", "--budget +10m"),
        (Extension(budget="+0s"), "more than 0"),
        (Extension(budget="ten"), "'ten'", "20m"),
        (Extension(trials=0, budget="x"), "--trials must be at least 1", "'x'"),
    ):
        with pytest.raises(InvalidInputError) as refused:
            asked.of(study)
        for word in words:
            assert word in str(refused.value)
    study.extend(extended)
    assert Study.load("flowers", study.workspace).settings.budget == 660.0
    study.tickets.fill_used_seconds({0: 700.0})
    with pytest.raises(InvalidInputError, match="used 11m40s already"):
        Extension(budget="11m30s").of(study)
    both = Study.create(make_settings(name="both", trials=4, budget=10.0), FACTS, study.workspace, None)
    both.tickets.fill_used_seconds({0: 11.0})
    with pytest.raises(InvalidInputError, match=r"the budget of 10s is spent.*--trials 9 --budget \+10m"):
        Extension(trials=9).of(both)


# The dry run


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), obj=TerminalViews(), prog_name="frostline")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_dry_run_says_everything_and_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "photos", count=10)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    command = ["search", "photos", "-b", "tiny_network:create", "--weights", "none", "--image-size", "32", "--dry-run"]
    command += ["-w", "ws", "--device", "cpu", "-s", "full", "-s", "feature_extraction"]
    plan = json.loads(run(*command, "--json", "--budget", "1h", "--trials", "6"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert plan["settings"]["budget"] == 3600.0
    assert plan["settings"]["trials"] == 6
    assert plan["predicted"]["trials"] == 6
    assert plan["predicted"]["ends_by"] == "trials"
    assert 0 < plan["predicted"]["seconds"] < 3600
    assert set(plan["space"]) == set(plan["strategies"]) == {"full", "feature_extraction"}
    full, heads = plan["strategies"]["full"], plan["strategies"]["feature_extraction"]
    assert full["trainable_share"] == 1.0
    # The head sees more units than that of `full`: it has more weights.
    assert heads["trainable_share"] == heads["trainable_parameters"] / heads["parameters"] < 0.5
    assert sum(each["predicted_trials"] for each in (full, heads)) == 6
    assert all(each["predicted_seconds"]["first_trial"] > 0 for each in (full, heads))
    assert all(each["predicted_memory_mb"] > 0 for each in (full, heads))
    assert plan["images"]["train"] == 14
    shown = run(*command)
    for word in ("photos", "tiny_network:create", "30 trials of 2 strategies", "[full]", "learning_rate", "peak"):
        assert word in shown
    assert "Nothing was trained or created" in " ".join(shown.split())
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
