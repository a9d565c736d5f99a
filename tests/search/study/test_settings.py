"""Settings of a study: kept with it, and compared name by name."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.study.settings import StudySettings


def make_settings(tables: Any = None, **changes: Any) -> StudySettings:
    values: dict[str, Any] = {
        "name": "flowers",
        "data": "photos",
        "backbone": "resnet18",
        "weights": "DEFAULT",
        "image_size": 64,
        "trials": 10,
        "metric": "accuracy",
        "seed": 0,
        "finals_seeds": 3,
        "space": resolve_space(create_space(tables or default_tables()), 10),
    }
    return StudySettings(**{**values, **changes})


def test_settings_survive_json() -> None:
    settings = make_settings()
    read = StudySettings.model_validate_json(settings.model_dump_json())
    assert read == settings
    assert read.differences(settings) == {}
    assert read.strategies == settings.strategies
    # Conditions come before what depends on them, so the order is part of a space.
    for strategy, domains in settings.space.strategies.items():
        assert list(read.space.strategies[strategy]) == list(domains)


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({}, {}),
        ({"trials": 12}, {"trials": (10, 12)}),
        ({"seed": 1, "backbone": "vgg11"}, {"backbone": ("resnet18", "vgg11"), "seed": (0, 1)}),
    ],
)
def test_differences_are_named_with_both_values(changes: dict[str, Any], differences: dict[str, Any]) -> None:
    assert make_settings().differences(make_settings(**changes)) == differences


def test_differences_of_spaces_go_down_to_single_values() -> None:
    own = make_settings({"full": {"warmup": {"low": 0.0, "high": 0.2}, "epochs": 5}, "scratch": {}})
    other = make_settings({"full": {"warmup": {"low": 0.0, "high": 0.3}, "epochs": 5}, "scratch": {}})
    assert own.differences(other) == {"space.strategies.full.warmup.high": (0.2, 0.3)}


def test_what_only_one_has_is_a_difference() -> None:
    own = make_settings({"full": {"epochs": 5}})
    other = make_settings({"full": {"epochs": 5, "patience": 3}})
    differences = own.differences(other)
    assert differences["space.strategies.full.patience.choices"] == (None, (3,))
    assert not any("epochs" in name for name in differences)


def test_a_spec_is_what_a_backbone_is_built_from() -> None:
    spec = make_settings().spec
    assert (spec.name, spec.weights, spec.image_size) == ("resnet18", "DEFAULT", 64)


@pytest.mark.parametrize("changes", [{"trials": 0}, {"seed": -1}, {"finals_seeds": 0}, {"unknown": 1}])
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_settings(**changes)
