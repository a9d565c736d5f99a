"""The search space: a strategy, and each strategy's own typed parameters, some only under a condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from optuna.trial import BaseTrial
from pydantic import BaseModel, ConfigDict, model_validator

from ...objectives.config import HeadConfig, TrialConfig, create_config
from ...objectives.errors import InvalidInputError, unknown_name

Scalar = bool | int | float | str


class Domain(BaseModel):
    """The values of one parameter: choices, or a range.

    Attributes:
        choices: Categories; a single one is a constant.
        low: Lowest value of a range, inclusive. A negative ``freeze_depth`` counts from the last unit, as in Python.
        high: Highest value, inclusive.
        log: Whether to sample on a logarithmic scale.
        default: Value of the strategy's first trial.
        when: Other parameters and the values of theirs under which this one exists.
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
        """Values whose validity implies that of all the others."""
        if self.choices is not None:
            return self.choices
        return tuple(value for value in (self.low, self.high) if value is not None)

    @property
    def first(self) -> Scalar:
        """The value to try first."""
        return self.extremes[0] if self.default is None else self.default

    @property
    def varies(self) -> bool:
        """Whether there is anything to search."""
        return len(self.choices) > 1 if self.choices is not None else self.low != self.high

    def contains(self, value: Scalar) -> bool:
        if self.choices is not None:
            return value in self.choices
        return (
            not isinstance(value, str)
            and self.low is not None
            and self.high is not None
            and (self.low <= value <= self.high)
        )

    def suggest(self, trial: BaseTrial, name: str, *, integer: bool) -> Any:
        """Ask Optuna for a value; constants are not asked for."""
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
    """What is searched.

    Attributes:
        strategies: Domains by strategy and parameter (dotted name); conditions come before what depends on them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    strategies: dict[str, dict[str, Domain]]

    def suggest(self, trial: BaseTrial, strategy: str) -> TrialConfig:
        """Draw a configuration of a strategy."""
        values: dict[str, Any] = {"strategy": strategy}
        for name, domain in self.strategies[strategy].items():
            if _active(domain, values):
                values[name] = domain.suggest(trial, optuna_name(strategy, name), integer=is_integer(name))
        return create_config(values)

    def default(self, strategy: str) -> dict[str, Any]:
        """The strategy's first configuration, by dotted name."""
        return self.default_with(strategy, {})

    def default_with(self, strategy: str, chosen: Mapping[str, Scalar]) -> dict[str, Any]:
        """The strategy's first configuration with these values in place of its own, where their conditions hold."""
        values: dict[str, Any] = {"strategy": strategy}
        for name, domain in self.strategies[strategy].items():
            if _active(domain, values):
                values[name] = chosen.get(name, domain.first)
        return values

    def only(self, strategies: Iterable[str]) -> Space:
        """The space of some strategies in the order given; of all if none is given.

        Raises:
            InvalidInputError: One is unknown, or not in this space.
        """
        names = list(dict.fromkeys(strategies)) or list(self.strategies)
        faults = [unknown_name("strategy", name, self.strategies) for name in names if name not in self.strategies]
        if faults:
            raise InvalidInputError(faults)
        return Space(strategies={name: self.strategies[name] for name in names})


def optuna_name(strategy: str, name: str) -> str:
    """A parameter's name in Optuna: each strategy has its own, so that sampling compares within a strategy (C7)."""
    return f"{strategy}/{name}"


def is_integer(name: str) -> bool:
    """Whether a parameter counts something."""
    model, key = (HeadConfig, name.removeprefix("head.")) if name.startswith("head.") else (TrialConfig, name)
    annotation = model.model_fields[key].annotation
    return annotation is int or int in get_args(annotation)


def _from_end(value: float) -> bool:
    return value < 0


def _active(domain: Domain, values: Mapping[str, Any]) -> bool:
    return all(values.get(name) in allowed for name, allowed in domain.when.items())
