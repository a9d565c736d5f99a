"""The search space: what it draws, what it resolves, what it refuses."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frostline.objectives.config import TrialConfig, create_config, flatten
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.strategies import STRATEGIES
from frostline.objectives.strategies.plans import plan_trial
from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.space.space import Domain, Space, is_integer, optuna_name


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def faults(tables: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as refusal:
        create_space(tables)
    return refusal.value.faults


def draw(space: Space, strategy: str, seed: int, fixed: dict[str, Any] | None = None) -> TrialConfig:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    if fixed:
        study.enqueue_trial({optuna_name(strategy, name): value for name, value in fixed.items()})
    return space.suggest(study.ask(), strategy)


# Drawing


@settings(deadline=None, max_examples=60)
@given(
    st.integers(2, 60),
    st.sampled_from([10, 400, 1000, 10**6]),
    st.sampled_from(sorted(STRATEGIES)),
    st.integers(0, 999),
)
def test_whatever_is_drawn_can_be_trained_and_is_within_its_domain(
    units: int, images: int, strategy: str, seed: int
) -> None:
    space = resolve_space(create_space(default_tables(images)).only([strategy]), units)
    config = draw(space, strategy, seed)
    assert config.strategy == strategy
    assert plan_trial(config, units).phases
    values = flatten(config)
    hidden = values["head.hidden_layers"] == 1
    domains = space.strategies[strategy]

    def drawn(name: str) -> bool:
        conditions = domains[name].when.items() if name in domains else ()
        return all(drawn(other) and values[other] in allowed for other, allowed in conditions)

    for name, domain in domains.items():
        assert not drawn(name) or domain.contains(values[name]), (name, values[name])
    if not hidden:
        assert not {"head.width", "head.activation"} & {f"head.{name}" for name in config.head.model_fields_set}


def test_conditions_decide_what_is_asked_for() -> None:
    space = create_space(
        {
            "full": {
                "head": {
                    "width": {"low": 8, "high": 64, "when": {"head.hidden_layers": [1, 2]}},
                    "hidden_layers": {"low": 0, "high": 2},
                }
            }
        }
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for layers in (0, 1, 2):
        study.enqueue_trial({"full/head.hidden_layers": layers})
        trial = study.ask()
        config = space.suggest(trial, "full")
        assert config.head.hidden_layers == layers
        assert ("full/head.width" in trial.params) == (layers > 0)
    assert "head.width" not in space.default("full")


def test_constants_are_not_asked_for() -> None:
    space = create_space(
        {"full": {"epochs": 7, "optimizer": {"choices": ["sgd"]}, "warmup": {"low": 0.1, "high": 0.1}}}
    )
    study = optuna.create_study()
    trial = study.ask()
    config = space.suggest(trial, "full")
    assert (config.epochs, config.optimizer, config.warmup) == (7, "sgd", 0.1)
    assert trial.params == {}
    assert space.default("full") == {"strategy": "full", "epochs": 7, "optimizer": "sgd", "warmup": 0.1}


@given(st.integers(0, 500))
def test_counts_are_drawn_as_whole_numbers(seed: int) -> None:
    space = create_space({"full": {"batch_size": {"low": 4, "high": 64, "log": True}}})
    config = draw(space, "full", seed)
    assert isinstance(config.batch_size, int)
    assert 4 <= config.batch_size <= 64


def test_every_parameter_knows_whether_it_counts() -> None:
    counts = {name for name in flatten(TrialConfig(strategy="")) if name != "strategy" and is_integer(name)}
    assert counts == {
        *("freeze_depth", "head.hidden_layers", "head.width", "views", "batch_size", "epochs", "probe_epochs"),
        *("patience", "trained_units", "unfreeze_every", "lora_rank", "truncate"),
        *("randaugment_ops", "randaugment_magnitude", "head.queries", "head.depths"),
    }


def test_each_strategy_has_its_own_parameters_in_optuna() -> None:
    space = create_space(
        {"shared": {"learning_rate": {"low": 0.1, "high": 1.0}}, "full": {}, "scratch": {"learning_rate": 0.5}}
    )
    study = optuna.create_study()
    names = set()
    for strategy in ("full", "scratch"):
        trial = study.ask()
        space.suggest(trial, strategy)
        names |= trial.params.keys()
    assert names == {"full/learning_rate"}


# The first configuration


def test_a_strategys_own_table_comes_before_the_shared_one() -> None:
    space = create_space({"shared": {"epochs": 3, "warmup": 0.1}, "full": {"epochs": 9}, "scratch": {}})
    assert space.default("full") == {"strategy": "full", "epochs": 9, "warmup": 0.1}
    assert space.default("scratch") == {"strategy": "scratch", "epochs": 3, "warmup": 0.1}


def test_shared_parameters_go_only_to_strategies_that_take_them() -> None:
    space = create_space({"shared": {"freeze_depth": 2, "epochs": 4}, "full": {}, "partial": {}})
    assert "freeze_depth" not in space.strategies["full"]
    assert space.default("partial")["freeze_depth"] == 2


def test_without_a_default_the_first_value_is_tried_first() -> None:
    space = create_space({"full": {"optimizer": {"choices": ["sgd", "adamw"]}, "warmup": {"low": 0.1, "high": 0.3}}})
    assert space.default("full") == {"strategy": "full", "optimizer": "sgd", "warmup": 0.1}


def test_only_keeps_some_strategies_in_the_order_asked_for() -> None:
    space = create_space(default_tables())
    assert list(space.only(["scratch", "full", "scratch"]).strategies) == ["scratch", "full"]
    assert space.only([]) == space
    with pytest.raises(InvalidInputError) as refusal:
        space.only(["fulll", "full", "scrach"])
    assert len(refusal.value.faults) == 2
    assert "Did you mean 'full'?" in refusal.value.faults[0]


# Depths


@pytest.mark.parametrize(
    ("written", "resolved"),
    [
        ({"low": 1, "high": -1, "default": -3}, (1, 9, 7)),
        ({"low": -4, "high": -2}, (6, 8, None)),
        ({"low": 2, "high": 5, "default": 3}, (2, 5, 3)),
        ({"low": 8, "high": -1, "default": -9}, (8, 9, 8)),
    ],
)
def test_negative_depths_count_from_the_last_unit(written: dict[str, int], resolved: tuple[int | None, ...]) -> None:
    domain = resolve_space(create_space({"partial": {"freeze_depth": written}}), 10).strategies["partial"][
        "freeze_depth"
    ]
    assert (domain.low, domain.high, domain.default) == resolved


def test_negative_choices_and_constants_count_from_the_last_unit() -> None:
    space = create_space({"partial": {"freeze_depth": {"choices": [1, -1, -2]}}, "lp_ft": {"freeze_depth": -1}})
    resolved = resolve_space(space, 5)
    assert resolved.strategies["partial"]["freeze_depth"].choices == (1, 4, 3)
    assert resolved.default("lp_ft")["freeze_depth"] == 4


@pytest.mark.parametrize(
    "depth",
    [
        -6,
        5,
        {"low": 1, "high": 5},
        {"low": 0, "high": 3},
        {"low": -1, "high": -3},
        {"low": 4, "high": -3},
        {"choices": [1, 2, 9]},
        {"low": 2, "high": -1, "default": 1},
    ],
)
def test_depths_that_a_backbone_does_not_have_are_refused(depth: Any) -> None:
    with pytest.raises(InvalidInputError, match="freeze_depth"):
        resolve_space(create_space({"partial": {"freeze_depth": depth}}), 5)


def test_faults_of_several_strategies_come_together() -> None:
    space = create_space(
        {"partial": {"freeze_depth": 7}, "lp_ft": {"epochs": 4, "probe_epochs": {"low": 1, "high": 3, "default": 2}}}
    )
    with pytest.raises(InvalidInputError) as refusal:
        resolve_space(space, 5)
    assert any("freeze_depth" in fault and "7" in fault for fault in refusal.value.faults)
    good = create_space({"partial": {}, "lp_ft": {"epochs": 3, "probe_epochs": 3}})
    with pytest.raises(InvalidInputError) as refusal:
        resolve_space(good, 5)
    assert len(refusal.value.faults) == 2


# Faults


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"low": 0.5, "high": 0.1}, "low is above high"),
        ({"low": 0.0, "high": 0.1, "log": True}, "log needs a low above 0"),
        ({"low": 0.1}, "either choices, or low and high"),
        ({}, "either choices, or low and high"),
        ({"low": 0.1, "high": 0.2, "choices": [0.1]}, "either choices, or low and high"),
        ({"choices": []}, "choices is empty"),
        ({"low": 0.1, "high": 0.2, "step": 0.1}, "step: unknown key; valid: choices, low, high"),
        ({"low": 0.1, "high": 0.2, "default": 0.3}, "default 0.3 is not among its values"),
        ({"choices": [0.1, 0.2], "default": 0.3}, "default 0.3 is not among its values"),
        ({"low": 0.1, "high": 1.3}, "1.3"),
        ({"choices": [0.1, "much"]}, "much"),
        ("much", "much"),
        (-0.1, "-0.1"),
        ([0.1, 0.2], "write a list as { choices = [...] }"),
    ],
)
def test_a_fault_names_section_and_parameter(value: Any, part: str) -> None:
    found = faults({"full": {"warmup": value}})
    assert all(fault.startswith("[full] warmup") for fault in found)
    assert any(part in fault for fault in found)


def test_a_wrong_choice_names_the_valid_ones() -> None:
    (fault,) = faults({"shared": {"optimizer": {"choices": ["adamw", "adagrad"]}}, "full": {}})
    assert fault.startswith("[shared] optimizer")
    assert "'sgd', 'adam', 'adamw' or 'rmsprop'" in fault
    assert "'adagrad'" in fault


def test_parameters_that_a_strategy_does_not_take_are_refused() -> None:
    assert faults({"full": {"freeze_depth": 3}}) == ["[full] takes no freeze_depth: leave it out"]


def test_a_condition_on_what_is_not_searched_is_refused() -> None:
    (fault,) = faults({"full": {"head": {"width": {"low": 8, "high": 64, "when": {"head.hidden_layers": [1]}}}}})
    assert fault == "[full] head.width: its condition 'head.hidden_layers' is not searched"


def test_a_space_without_strategies_is_refused() -> None:
    for tables in ({}, {"shared": {"epochs": 3}}):
        (fault,) = faults(tables)
        assert "names no strategy" in fault
        assert "feature_extraction" in fault


def test_a_section_that_is_no_table_is_refused() -> None:
    (fault,) = faults({"full": 3})
    assert "[full] must be a table" in fault


@settings(deadline=None)
@given(st.floats(), st.floats(), st.booleans())
def test_a_range_is_taken_whole_or_refused(low: float, high: float, log: bool) -> None:
    """Whatever the numbers, nan and infinity too: no range comes through that no configuration could have."""
    try:
        space = create_space({"full": {"learning_rate": {"low": low, "high": high, "log": log}}})
    except InvalidInputError:
        return
    assert 0 < low <= high <= 10
    for value in (low, high):
        create_config({"strategy": "full", "learning_rate": value})
    assert low <= draw(space, "full", 0).learning_rate <= high


def test_a_domain_contains_its_extremes() -> None:
    assert all(Domain(low=1, high=3).contains(value) for value in (1, 2, 3))
    assert not any(Domain(low=1, high=3).contains(value) for value in (0, 4, "2"))
    assert Domain(choices=("a", 1)).contains("a")
    assert not Domain(choices=("a", 1)).contains("b")
