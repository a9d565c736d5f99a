"""Samplers of the user's: made or copied, each with random numbers of the given seed; what makes none is refused."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import optuna
import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, PartialFixedSampler, RandomSampler

from frostline.objectives.errors import InvalidInputError
from frostline.search.sampling.user_samplers import create_user_sampler


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of the user's."""
    module = ModuleType("own_samplers")
    monkeypatch.setitem(sys.modules, "own_samplers", module)
    return module


def value(sampler: BaseSampler) -> float:
    """The first number that a sampler draws."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    return study.ask().suggest_float("x", 0, 1)


def test_a_class_gets_the_seed() -> None:
    one, again, other = (create_user_sampler("optuna.samplers:RandomSampler", seed) for seed in (1, 1, 2))
    assert isinstance(one, RandomSampler)
    assert value(one) == value(again) == value(RandomSampler(seed=1))
    assert value(other) == value(RandomSampler(seed=2))


def test_a_function_that_takes_no_seed_gets_none(own: ModuleType) -> None:
    own.__dict__["create"] = lambda: RandomSampler(seed=5)
    assert value(create_user_sampler("own_samplers:create", 1)) == value(RandomSampler(seed=5))
    own.__dict__["create"] = lambda *, seed: RandomSampler(seed=seed + 1)
    assert value(create_user_sampler("own_samplers:create", 1)) == value(RandomSampler(seed=2))


def test_a_sampler_is_copied_and_starts_anew_from_both_seeds(own: ModuleType) -> None:
    own.__dict__["sampler"] = RandomSampler(seed=5)
    values = [value(create_user_sampler("own_samplers:sampler", seed)) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]
    # The user's own stays as it was.
    assert value(own.__dict__["sampler"]) == value(RandomSampler(seed=5))
    own.__dict__["sampler"] = RandomSampler(seed=6)
    assert value(create_user_sampler("own_samplers:sampler", 1)) != values[0]


def test_a_sampler_within_a_sampler_starts_anew_too(own: ModuleType) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        own.__dict__["sampler"] = PartialFixedSampler({"y": 0.5}, RandomSampler(seed=5))
    values = [value(create_user_sampler("own_samplers:sampler", seed)) for seed in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


def test_what_optuna_calls_experimental_is_no_news(own: ModuleType) -> None:
    def create() -> BaseSampler:
        warnings.warn("new", ExperimentalWarning, stacklevel=1)
        return RandomSampler()

    own.__dict__["create"] = create
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert isinstance(create_user_sampler("own_samplers:create", 0), RandomSampler)


def fails() -> BaseSampler:
    raise RuntimeError("no license")


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (3, r"'own_samplers:thing' is of type int\. Give an optuna\.samplers\.BaseSampler"),
        (lambda: 3, r"returns a int\. Give an"),
        (fails, r"fails: RuntimeError: no license\. Give an"),
        (lambda needed: RandomSampler(), "fails: TypeError: "),
    ],
)
def test_what_gives_no_sampler_is_refused_with_what_is_wanted(
    own: ModuleType, thing: int | Callable[..., Any], message: str
) -> None:
    own.__dict__["thing"] = thing
    with pytest.raises(InvalidInputError, match=message):
        create_user_sampler("own_samplers:thing", 0)


def test_what_is_not_there_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Sampler"):
        create_user_sampler("no_such_module:sampler", 0)


def test_a_callable_without_a_signature_is_called_without_a_seed(own: ModuleType) -> None:
    class Odd:
        __signature__ = "none"

        def __call__(self) -> BaseSampler:
            return RandomSampler(seed=4)

    own.__dict__["odd"] = Odd()
    assert value(create_user_sampler("own_samplers:odd", 0)) == value(RandomSampler(seed=4))


def test_a_copy_depends_on_the_samplers_own_seed(own: ModuleType) -> None:
    values = set()
    for seed in range(6):
        own.__dict__["sampler"] = RandomSampler(seed=seed)
        values.add(value(create_user_sampler("own_samplers:sampler", 1)))
    assert len(values) == 6
