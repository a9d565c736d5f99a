"""The search space: a strategy, and each strategy's own typed parameters, some only under a condition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Any, get_args

from optuna.trial import BaseTrial
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from ..objectives.config import HeadConfig, TrialConfig, create_config, parameter_names
from ..objectives.errors import InvalidInputError, unknown_name
from ..objectives.plans import plan_phases
from ..objectives.strategies import STRATEGIES, get_strategy, takes_parameter

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
        return self._first_with(strategy, {})

    def _first_with(self, strategy: str, chosen: Mapping[str, Scalar]) -> dict[str, Any]:
        """The first configuration with some values chosen, where their conditions hold."""
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

    def resolve(self, units: int) -> Space:
        """Count negative freeze depths from the end, for a backbone of so many units, and check the result.

        Raises:
            InvalidInputError: All faults at once.
        """
        resolved = {
            strategy: {
                name: _absolute(domain, units) if name == "freeze_depth" else domain for name, domain in own.items()
            }
            for strategy, own in self.strategies.items()
        }
        space = Space(strategies=resolved)
        faults = [fault for strategy in resolved for fault in space._plan_faults(strategy, units)]
        if faults:
            raise InvalidInputError(faults)
        return space

    def _plan_faults(self, strategy: str, units: int) -> list[str]:
        """What is wrong with the strategy's first configuration, and with each pair of extreme values in it."""
        options = {
            name: [value for value in domain.extremes if value != domain.first] or [domain.first]
            for name, domain in self.strategies[strategy].items()
        }
        chosen: list[dict[str, Scalar]] = [{}, *({name: value} for name in options for value in options[name])]
        for one, other in combinations(options, 2):
            chosen += [{one: left, other: right} for left, right in product(options[one], options[other])]
        faults: list[str] = []
        for values in chosen:
            try:
                plan_phases(create_config(self._first_with(strategy, values)), units)
            except InvalidInputError as error:
                faults += [f"{strategy}: {fault}" for fault in error.faults]
        return list(dict.fromkeys(faults))


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


def _counts(depth: Any) -> bool:
    """Whether a depth counts from the end."""
    return isinstance(depth, int) and depth < 0


def _absolute(domain: Domain, units: int) -> Domain:
    def count(value: Any) -> Any:
        return value + units if _counts(value) else value

    changes: dict[str, Any] = {key: count(getattr(domain, key)) for key in ("low", "high", "default")}
    changes["choices"] = domain.choices and tuple(count(value) for value in domain.choices)
    if _counts(domain.default) and domain.low is not None:
        # In a short backbone, so far from the end may be before the lowest depth.
        changes["default"] = max(changes["default"], changes["low"])
    try:
        resolved = Domain(**{**domain.model_dump(), **changes})
    except ValidationError as error:
        raise InvalidInputError(f"freeze_depth: {_reason(error)} (this backbone has {units} units)") from None
    if resolved.default is not None and not resolved.contains(resolved.default):
        raise InvalidInputError(
            f"freeze_depth: default {domain.default!r} is not among its values (this backbone has {units} units)"
        )
    return resolved


def create_space(tables: Mapping[str, Any]) -> Space:
    """Validate a space as written in a file: a table ``shared`` and one a strategy, of parameters and their values.

    A value is a constant, a table ``{choices = [...]}`` or a table ``{low = ..., high = ...}``; see :class:`Domain`.

    Raises:
        InvalidInputError: All faults at once, each by strategy and parameter.
    """
    faults = [
        unknown_name("strategy", name, [*STRATEGIES, "shared"])
        for name in tables
        if name not in STRATEGIES and name != "shared"
    ]
    if not any(name in STRATEGIES for name in tables):
        faults.append(f"The space names no strategy. Add a table for one or more of: {', '.join(STRATEGIES)}.")
    shared = _parse_table("shared", tables.get("shared", {}), faults)
    strategies: dict[str, dict[str, Domain]] = {}
    for name in tables:
        if name in STRATEGIES:
            own = _parse_table(name, tables[name], faults)
            strategies[name] = _merge(name, shared, own, faults)
    if faults:
        raise InvalidInputError(faults)
    return Space(strategies=strategies)


def _parse_table(section: str, table: Any, faults: list[str]) -> dict[str, Domain]:
    if not isinstance(table, Mapping):
        faults.append(f"[{section}] must be a table of parameters, got {table!r}")
        return {}
    domains = {}
    for name, value in _dotted(table):
        if name not in parameter_names():
            faults.append(f"[{section}] {unknown_name('parameter', name, parameter_names())}")
            continue
        domain = _parse_domain(f"[{section}] {name}", value, faults)
        if domain is not None:
            domains[name] = domain
            faults += _value_faults(section, name, domain)
    return domains


def _dotted(table: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for name, value in table.items():
        if name == "head" and isinstance(value, Mapping):
            yield from ((f"head.{key}", inner) for key, inner in value.items())
        else:
            yield name, value


def _parse_domain(place: str, value: Any, faults: list[str]) -> Domain | None:
    if isinstance(value, list):
        faults.append(f"{place}: write a list as {{ choices = [...] }}, a range as {{ low = ..., high = ... }}")
        return None
    written = value if isinstance(value, Mapping) else {"choices": [value]}
    try:
        return Domain.model_validate(written)
    except ValidationError as error:
        faults.append(f"{place}: {_reason(error)}")
        return None


def _reason(error: ValidationError) -> str:
    parts = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"])
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"unknown key; valid: {', '.join(Domain.model_fields)}"
        parts.append(f"{key}: {message}" if key else message)
    return "; ".join(parts)


def _value_faults(section: str, name: str, domain: Domain) -> list[str]:
    """Values that no configuration can have."""
    faults = []
    candidates = [*domain.extremes, *([] if domain.default is None else [domain.default])]
    for value in dict.fromkeys(candidates):
        if name == "freeze_depth" and _counts(value):
            continue
        try:
            create_config({"strategy": "", name: value})
        except InvalidInputError as error:
            faults += [f"[{section}] {fault}" for fault in error.faults]
    if domain.default is not None and not domain.contains(domain.default) and not _counts_from_end(name, domain):
        faults.append(f"[{section}] {name}: default {domain.default!r} is not among its values")
    return faults


def _counts_from_end(name: str, domain: Domain) -> bool:
    values = (*domain.extremes, domain.default)
    return name == "freeze_depth" and any(_counts(value) for value in values)


def _merge(
    strategy: str, shared: Mapping[str, Domain], own: Mapping[str, Domain], faults: list[str]
) -> dict[str, Domain]:
    """A strategy's own domains over the shared ones that it takes, conditions first."""
    described = get_strategy(strategy)
    faults += [f"[{strategy}] takes no {name}: leave it out" for name in own if not takes_parameter(described, name)]
    merged = {name: domain for name, domain in shared.items() if takes_parameter(described, name)} | dict(own)
    for name, domain in merged.items():
        faults += [
            f"[{strategy}] {name}: its condition {other!r} is not searched" for other in set(domain.when) - set(merged)
        ]
    return dict(sorted(merged.items(), key=lambda item: bool(item[1].when)))
