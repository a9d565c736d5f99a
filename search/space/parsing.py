"""The parsing of search spaces from tables, and their check against a backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, product
from typing import Any

from pydantic import ValidationError

from ...objectives.config import COLOR_AUGMENTATIONS, HeadConfig, create_config, parameter_names
from ...objectives.errors import InvalidInputError, unknown_name
from ...objectives.preprocessing import RGB, plural_channels
from ...objectives.strategies import STRATEGIES, get_strategy, plan_trial, takes_parameter
from .space import Domain, Scalar, Space


def create_space(tables: Mapping[str, Any]) -> Space:
    """Parse and validate a space given as tables, as in a space file.

    A value is a constant, a table ``{choices = [...]}`` or a table ``{low = ..., high = ...}``; or a :class:`Domain`.

    Args:
        tables: Table ``shared`` and one table per strategy, from parameters to values.

    Raises:
        InvalidInputError: The space has faults; the message names all of them by strategy and parameter.

    Examples:
        >>> from frostline.search.space import create_space
        >>> rates = {"low": 1e-4, "high": 1e-1, "log": True}
        >>> space = create_space({"shared": {"epochs": 5}, "full": {"learning_rate": rates}})
        >>> space.default("full")
        {'strategy': 'full', 'epochs': 5, 'learning_rate': 0.0001}
        >>> create_space({"full": {"freeze_depth": 3}})
        Traceback (most recent call last):
            ...
        frostline.objectives.errors.InvalidInputError: [full] takes no freeze_depth: leave it out
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


# The remedy of Kumar et al. 2022 for SGD on networks whose first unit embeds patches; they need none with AdamW.
_FROZEN_EMBEDDING = Domain(choices=(True,), when={"optimizer": ("sgd",)})


def resolve_space(space: Space, units: int, *, embeds_patches: bool = False) -> Space:
    """Replace freeze depths that count from the end by absolute ones, let heads see no more units than there are,
    freeze patch embeddings, and check the result.

    Args:
        space: Space to resolve.
        units: Number of units of the backbone.
        embeds_patches: Whether its first unit is a patch embedding, which ``freeze_embedding`` then freezes where the
            space does not say otherwise and has ``sgd``.

    Raises:
        InvalidInputError: The space does not suit the backbone; the message names all faults.

    Examples:
        >>> from frostline.search.space import create_space, resolve_space
        >>> depths = {"low": 1, "high": -1, "default": -2}
        >>> space = resolve_space(create_space({"partial": {"freeze_depth": depths}}), units=10)
        >>> space.strategies["partial"]["freeze_depth"].high, space.default("partial")["freeze_depth"]
        (9, 8)
    """
    resolved = {
        strategy: {
            name: _BY_UNITS[name](domain, units) if name in _BY_UNITS else domain for name, domain in own.items()
        }
        for strategy, own in space.strategies.items()
    }
    for strategy, own in resolved.items() if embeds_patches else ():
        if takes_parameter(get_strategy(strategy), "freeze_embedding") and _has_sgd(own):
            own.setdefault("freeze_embedding", _FROZEN_EMBEDDING)
    result = Space(strategies=resolved)
    faults = [fault for strategy in resolved for fault in _plan_faults(result, strategy, units)]
    if faults:
        raise InvalidInputError(faults)
    return result


def with_head(space: Space, function: str) -> Space:
    """Replace the heads of all strategies that take one of the user's.

    A parameter that depends on one of the head that is replaced, as those of a probe that trains do, stays where it has
    an effect with the other's default.

    Args:
        space: Space.
        function: ``module:function`` of the head.

    Examples:
        >>> from frostline.search.space import create_space, with_head
        >>> space = create_space({"full": {"epochs": 5, "head.dropout": 0.1}})
        >>> with_head(space, "my_objects:head").default("full")
        {'strategy': 'full', 'epochs': 5, 'head.function': 'my_objects:head'}
    """
    replaced, defaults = dict[str, dict[str, Domain]](), {f"head.{name}": value for name, value in HeadConfig()}
    for strategy, own in space.strategies.items():
        if not takes_parameter(get_strategy(strategy), "head.function"):
            replaced[strategy] = own
            continue
        left = {name: domain for name, domain in own.items() if not name.startswith("head.")}
        gone = own.keys() - left.keys()
        replaced[strategy] = {
            name: domain.model_copy(update={"when": {key: of for key, of in domain.when.items() if key not in gone}})
            for name, domain in left.items()
            if all(defaults[key] in of for key, of in domain.when.items() if key in gone)
        } | {"head.function": Domain(choices=(function,))}
    return Space(strategies=replaced)


def channel_faults(space: Space, channels: int) -> list[str]:
    """Return the faults of a space whose augmentations images of so many channels do not take.

    Examples:
        >>> from frostline.search.space import channel_faults, create_space
        >>> space = create_space({"full": {"epochs": 5, "augmentation": "trivial"}})
        >>> channel_faults(space, 3)
        []
        >>> channel_faults(space, 5)[0][:77]
        "[full] augmentation = 'trivial' changes colors, which 5 channels do not have:"
    """
    return [
        f"[{strategy}] augmentation = {policy!r} changes colors, which {plural_channels(channels)} do not have: leave "
        "it out, or leave out --channels; none, crop, flip_crop and resized_crop suit any channels"
        for strategy, own in space.strategies.items()
        for policy in COLOR_AUGMENTATIONS
        if channels != RGB and "augmentation" in own and own["augmentation"].contains(policy)
    ]


def _has_sgd(domains: Mapping[str, Domain]) -> bool:
    return "optimizer" in domains and domains["optimizer"].contains("sgd")


def _plan_faults(space: Space, strategy: str, units: int) -> list[str]:
    """Return the faults of a strategy's first configuration, and of each pair of extreme values in it."""
    options = {
        name: [value for value in domain.extremes if value != domain.first] or [domain.first]
        for name, domain in space.strategies[strategy].items()
    }
    chosen: list[dict[str, Scalar]] = [{}, *({name: value} for name in options for value in options[name])]
    for one, other in combinations(options, 2):
        chosen += [{one: left, other: right} for left, right in product(options[one], options[other])]
    # Where a condition does not hold, a choice has no effect: such configurations are equal.
    distinct = {tuple(values.items()): values for values in (space.default_with(strategy, each) for each in chosen)}
    faults: list[str] = []
    for values in distinct.values():
        try:
            plan_trial(create_config(values), units)
        except InvalidInputError as error:
            faults += [f"{strategy}: {fault}" for fault in error.faults]
    return list(dict.fromkeys(faults))


def _at_most(domain: Domain, units: int) -> Domain:
    """Limit what a domain has to the number of units: a head that may see 4 sees the 3 that there are."""
    choices = domain.choices and tuple(dict.fromkeys(_limited(value, units) for value in domain.choices))
    limits = {key: _limited(getattr(domain, key), units) for key in ("low", "high", "default")}
    return domain.model_copy(update={**limits, "choices": choices})


def _limited(value: Any, units: int) -> Any:
    return min(value, units) if isinstance(value, int) else value


def _counts(depth: Any) -> bool:
    """Return whether a depth counts from the end."""
    return isinstance(depth, int) and depth < 0


def _absolute(domain: Domain, units: int) -> Domain:
    def count(value: Any) -> Any:
        return value + units if _counts(value) else value

    changes: dict[str, Any] = {key: count(getattr(domain, key)) for key in ("low", "high", "default")}
    changes["choices"] = domain.choices and tuple(count(value) for value in domain.choices)
    if _counts(domain.default) and domain.low is not None:
        # In a short backbone, a default that counts from the end may be below the lowest depth.
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


# What is written for any number of units, and becomes what a backbone has.
_BY_UNITS = {"freeze_depth": _absolute, "head.depths": _at_most}


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
    written = value if isinstance(value, Mapping | Domain) else {"choices": [value]}
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
    """Return the faults of values that no configuration can have."""
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
    """Return the shared domains that a strategy takes, overridden by its own, conditions first."""
    described = get_strategy(strategy)
    faults += [f"[{strategy}] takes no {name}: leave it out" for name in own if not takes_parameter(described, name)]
    merged = {name: domain for name, domain in shared.items() if takes_parameter(described, name)} | dict(own)
    for name, domain in merged.items():
        faults += [
            f"[{strategy}] {name}: its condition {other!r} is not searched" for other in set(domain.when) - set(merged)
        ]
    return dict(sorted(merged.items(), key=lambda item: bool(item[1].when)))
