"""Differences of settings as users read them: one line a setting, as the space file writes it."""

from __future__ import annotations

from typing import Any

from frostline.search.space import create_space
from frostline.search.study.differences import told_differences
from frostline.search.study.settings import StudySettings


def settings(tables: dict[str, Any], **changes: Any) -> StudySettings:
    """Settings of a study with a search space."""
    given = {"name": "tiny", "data": "photos", "backbone": "resnet18", "weights": "none", "image_size": 64, "seed": 0}
    rest = {"trials": 10, "metric": "accuracy", "finals_seeds": 3, "space": create_space(tables)}
    return StudySettings(**{**given, **rest, **changes})


def test_equal_settings_have_none() -> None:
    assert told_differences(settings({"full": {"epochs": 5}}), settings({"full": {"epochs": 5}})) == []


def test_what_is_not_given_is_nothing_and_a_budget_is_a_time() -> None:
    there, here = settings({"full": {}}), settings({"full": {}}, trials=None, budget=90.0)
    assert told_differences(there, here) == ["  trials: 10 there, nothing here", "  budget: nothing there, 1m30s here"]


def test_a_parameter_is_one_line_in_the_words_of_a_space_file() -> None:
    there = settings({"full": {"warmup": {"low": 0.0, "high": 0.2}, "epochs": 5}})
    here = settings({"full": {"warmup": 0.1, "epochs": 5, "head": {"init": "zeros"}}})
    assert told_differences(there, here) == [
        "  [full] warmup: { low = 0.0, high = 0.2 } there, 0.1 here",
        '  [full] head.init: nothing there, "zeros" here',
    ]


def test_a_strategy_of_one_of_them_is_one_line_however_much_it_searches() -> None:
    many = {"epochs": 5, "patience": 3, "warmup": 0.1, "schedule": "linear"}
    told = told_differences(settings({"full": many, "lp_ft": many}), settings({"full": many, "scratch": many}))
    assert told == ["  strategy lp_ft: only there", "  strategy scratch: only here"]


def test_many_parameters_of_a_strategy_are_only_named() -> None:
    there = {"epochs": 5, "patience": 3, "warmup": 0.1, "schedule": "linear", "batch_size": 8}
    told = told_differences(settings({"full": there}), settings({"full": {}}))
    assert told == ["  [full] 5 parameters: epochs, patience, warmup, schedule, batch_size"]
