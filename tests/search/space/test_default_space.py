"""The default space suits every backbone and every size of dataset."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.samplers import RandomSampler
from optuna.study import create_study

from frostline.objectives.config import create_config, without_effect
from frostline.objectives.strategies import STRATEGIES
from frostline.objectives.strategies.plans import plan_trial
from frostline.search.space.default_space import EPOCHS_RANGE, IMAGES_PER_TRIAL, default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.space.space import Space

units = st.integers(2, 60)
train_images = st.one_of(st.integers(10, 1_000_000), st.sampled_from([10, 150, 151, 1000, 1200, 1_000_000]))


def default_space(images: int, depth: int) -> Space:
    return resolve_space(create_space(default_tables(images)), depth)


@pytest.mark.slow  # All strategies, 30 times. That of 1,000 images and 6 units is quick.
@settings(deadline=None, max_examples=30)
@given(train_images, units)
def test_every_default_configuration_can_be_trained(images: int, depth: int) -> None:
    space = default_space(images, depth)
    assert set(space.strategies) == set(STRATEGIES)
    for strategy in space.strategies:
        phases = plan_trial(create_config(space.default(strategy)), depth).phases
        assert all(phase.epochs >= 1 for phase in phases)


def test_every_number_of_units_is_served() -> None:
    for depth in range(2, 61):
        space = resolve_space(create_space(default_tables(1000)).only(["partial"]), depth)
        domain = space.strategies["partial"]["freeze_depth"]
        assert (domain.low, domain.high) == (1, depth - 1)
        assert domain.contains(domain.first)


@pytest.mark.parametrize(("units", "seen"), [(18, (1, 4, 8)), (7, (1, 4, 7)), (4, (1, 4)), (2, (1, 2))])
@pytest.mark.parametrize("strategy", ["feature_extraction", "linear_probe_exact", "partial", "lp_ft"])
def test_heads_on_frozen_networks_and_those_that_start_from_them_see_the_last_eight_units_or_as_many_as_there_are(
    strategy: str, units: int, seen: tuple[int, ...]
) -> None:
    space = resolve_space(create_space(default_tables(1000)).only([strategy]), units)
    depths = space.strategies[strategy]["head.depths"]
    assert (depths.choices, depths.first) == (seen, seen[-1])


@pytest.mark.parametrize(("images", "seen"), [(2_000, (1, 4, 8)), (10_000, (1, 4)), (10_001, (1,))])
def test_heads_see_fewer_units_where_many_images_would_make_them_dear(images: int, seen: tuple[int, ...]) -> None:
    for strategy in ("feature_extraction", "linear_probe_exact", "partial", "lp_ft"):
        depths = default_space(images, 18).strategies[strategy]["head.depths"]
        assert (depths.choices, depths.first) == (seen, seen[-1])


def test_a_range_of_units_ends_with_those_that_there_are() -> None:
    written = {"feature_extraction": {"head.depths": {"low": 2, "high": 9, "default": 6}}}
    depths = resolve_space(create_space(written), 5).strategies["feature_extraction"]["head.depths"]
    assert (depths.low, depths.high, depths.default) == (2, 5, 5)


@settings(deadline=None)
@given(train_images)
def test_epochs_give_each_trial_about_as_many_images(images: int) -> None:
    tables = default_tables(images)
    epochs = tables["full"]["epochs"]
    low, high = EPOCHS_RANGE
    assert low <= epochs <= high
    if low < epochs < high:
        assert abs(epochs * images - IMAGES_PER_TRIAL) <= images / 2
    # A head on cached features costs little: it may learn for longer.
    assert tables["feature_extraction"]["epochs"] > epochs


def test_more_images_never_mean_more_epochs() -> None:
    epochs = [default_tables(images)["full"]["epochs"] for images in (10, 100, 300, 1000, 3000, 10**6)]
    assert epochs == sorted(epochs, reverse=True)


def test_parameters_that_exist_for_some_values_only() -> None:
    """The hidden layers' own, and what comes before a solved head or instead of it; the other conditions name values
    that the default space does not search.
    """
    hidden = {"head.hidden_layers": (1,)}
    for strategy, domains in create_space(default_tables()).strategies.items():
        found = {name: domain.when for name, domain in domains.items() if domain.when}
        expected = {} if strategy == "linear_probe_exact" else {"head.width": hidden, "head.activation": hidden}
        # Logistic regression solves a linear head.
        if strategy in ("feature_extraction", "partial", "lp_ft"):
            expected["head.init"] = {"head.hidden_layers": (0,)}
        # A solved head is the probe.
        if strategy == "lp_ft":
            expected |= {name: {"head.init": ("default",)} for name in ("probe_epochs", "probe_learning_rate")}
        assert found == expected


def test_nothing_without_effect_is_drawn() -> None:
    space = default_space(1000, 6)
    study = create_study(sampler=RandomSampler(seed=0))
    for strategy in space.strategies:
        for _ in range(20):
            trial = study.ask()
            idle = without_effect(space.suggest(trial, strategy))
            assert not {name.removeprefix(f"{strategy}/") for name in trial.params} & idle
