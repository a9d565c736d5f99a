"""The search space: the strategies, with typed and conditional parameters of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ConfigDict, model_validator

from ...objectives.config import HeadConfig, TrialConfig, create_config
from ...objectives.errors import InvalidInputError, unknown_name

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Scalar = bool | int | float | str


class Domain(BaseModel):
    """The domain of one parameter: choices or a range.

    Attributes:
        choices: Categories; a single category is a constant.
        low: Lowest value of a range, inclusive. A negative ``freeze_depth`` counts from the last unit, as in Python.
        high: Highest value, inclusive.
        log: Whether to sample on a logarithmic scale.
        default: Value of the strategy's first trial.
        when: Condition: other parameters and those of their values for which this parameter exists.

    Examples:
        >>> from frostline.search.space import Domain
        >>> rate = Domain(low=1e-4, high=1e-1, log=True, default=1e-3)
        >>> rate.first, rate.varies, rate.contains(0.5)
        (0.001, True, False)
        >>> Domain(choices=("sgd",)).varies
        False
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: tuple[Scalar, ...] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    default: Scalar | None = None
    when: dict[str, tuple[Scalar, ...]] = {}

    @model_validator(mode="after")
    def _complete(self) -> Domain:
        if (self.choices is None) == (self.low is None or self.high is None):
            raise ValueError("give either choices, or low and high")
        if self.choices is not None and not self.choices:
            raise ValueError("choices is empty")
        if self.low is not None and self.high is not None and self.low > self.high and not _from_end(self.high):
            raise ValueError(f"low is above high: {self.low} > {self.high}")
        if self.log and (self.low is None or self.low <= 0):
            raise ValueError("log needs a low above 0")
        return self

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Return the values whose validity implies the validity of all others."""
        if self.choices is not None:
            return self.choices
        return tuple(value for value in (self.low, self.high) if value is not None)

    @property
    def first(self) -> Scalar:
        """Return the value of the first trial."""
        return self.extremes[0] if self.default is None else self.default

    @property
    def varies(self) -> bool:
        """Return whether the domain has more than one value."""
        return len(self.choices) > 1 if self.choices is not None else self.low != self.high

    def contains(self, value: Scalar) -> bool:
        """Return whether a value is in the domain."""
        if self.choices is not None:
            return value in self.choices
        return (
            not isinstance(value, str)
            and self.low is not None
            and self.high is not None
            and (self.low <= value <= self.high)
        )

    def suggest(self, trial: BaseTrial, name: str, *, integer: bool) -> Any:
        """Return a value that Optuna suggests, or the constant.

        Args:
            trial: Optuna trial.
            name: Name of the parameter in Optuna.
            integer: Whether the parameter is an integer."""
        if self.choices is not None:
            return self.choices[0] if len(self.choices) == 1 else trial.suggest_categorical(name, list(self.choices))
        assert self.low is not None
        assert self.high is not None
        if self.low == self.high:
            return self.low
        if integer:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


class Space(BaseModel):
    """A search space.

    Attributes:
        strategies: Domains by strategy and dotted parameter name; conditions come before the parameters they apply to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategies: dict[str, dict[str, Domain]]

    def suggest(self, trial: BaseTrial, strategy: str) -> TrialConfig:
        """Return a configuration of a strategy, with values suggested by Optuna.

        Raises:
            InvalidInputError: The values contradict each other."""
        values: dict[str, Any] = {"strategy": strategy}
        for name, domain in self.strategies[strategy].items():
            if _active(domain, values):
                values[name] = domain.suggest(trial, optuna_name(strategy, name), integer=is_integer(name))
        return create_config(values)

    def default(self, strategy: str) -> dict[str, Any]:
        """Return the first configuration of a strategy, by dotted name."""
        return self.default_with(strategy, {})

    def default_with(self, strategy: str, chosen: Mapping[str, Scalar]) -> dict[str, Any]:
        """Return the first configuration of a strategy, with the given values where their conditions hold."""
        values: dict[str, Any] = {"strategy": strategy}
        for name, domain in self.strategies[strategy].items():
            if _active(domain, values):
                values[name] = chosen.get(name, domain.first)
        return values

    def searched(self, strategy: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of a strategy's values whose parameters have more than one.

        Examples:
            >>> from frostline.search.space import create_space
            >>> space = create_space({"full": {"epochs": 5, "batch_size": {"choices": [16, 32]}}})
            >>> space.searched("full", space.default("full"))
            {'batch_size': 16}"""
        domains = self.strategies[strategy]
        return {name: value for name, value in values.items() if name in domains and domains[name].varies}

    def only(self, strategies: Iterable[str]) -> Space:
        """Return the space of the named strategies, in this order; of all strategies if none is named.

        Raises:
            InvalidInputError: A strategy is not in this space.
        """
        names = list(dict.fromkeys(strategies)) or list(self.strategies)
        faults = [unknown_name("strategy", name, self.strategies) for name in names if name not in self.strategies]
        if faults:
            raise InvalidInputError(faults)
        return Space(strategies={name: self.strategies[name] for name in names})


@cache
def optuna_name(strategy: str, name: str) -> str:
    """Return a parameter's name in Optuna, which differs by strategy: sampling compares within a strategy (C7).

    Examples:
        >>> from frostline.search.space import optuna_name
        >>> optuna_name("full", "learning_rate")
        'full/learning_rate'"""
    return f"{strategy}/{name}"


def is_integer(name: str) -> bool:
    """Return whether a parameter is an integer.

    Examples:
        >>> from frostline.search.space import is_integer
        >>> is_integer("head.width"), is_integer("learning_rate")
        (True, False)"""
    model, key = (HeadConfig, name.removeprefix("head.")) if name.startswith("head.") else (TrialConfig, name)
    annotation = model.model_fields[key].annotation
    return annotation is int or int in get_args(annotation)


def _from_end(value: float) -> bool:
    return value < 0


def _active(domain: Domain, values: Mapping[str, Any]) -> bool:
    return not domain.when or all(values.get(name) in allowed for name, allowed in domain.when.items())
