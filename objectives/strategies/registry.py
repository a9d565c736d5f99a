"""Registry of strategies.

A strategy is data: a name, the parameters that it takes, and a plan that turns a configuration into phases. The
training loop knows phases only, so a new strategy is one plan and one entry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..config import OWN_PARAMETERS, TrialConfig, parameter_names
from ..errors import InvalidInputError, unknown_name
from ..phases import Phase

Plan = Callable[[TrialConfig, int], tuple[Phase, ...]]


@dataclass(frozen=True)
class Strategy:
    """A way of using a pretrained network.

    Attributes:
        name: Name as users write it.
        summary: One line for tables and help.
        plan: Function from a configuration and the number of units to phases.
        takes: Own parameters (see ``OWN_PARAMETERS``) that this strategy needs or allows.
        pretrained: Whether it starts from the pretrained weights.
        refuses: Shared parameters that have no effect on it.
        domains: Default domains of its parameters, as a table of a space file. Plugins give theirs here; those of the
            built-in strategies are in the default space.

    Example:
        >>> from frostline.objectives.strategies import Strategy, head_phase
        >>> def short_probe(config, units):
        ...     return (head_phase("head", units, epochs=1, rate=config.learning_rate),)
        >>> Strategy("short_probe", "one epoch of the head", short_probe, refuses=frozenset({"epochs"})).pretrained
        True
    """

    name: str
    summary: str
    plan: Plan
    takes: frozenset[str] = field(default_factory=frozenset)
    pretrained: bool = True
    refuses: frozenset[str] = field(default_factory=frozenset)
    domains: Mapping[str, Any] = field(default_factory=dict, hash=False)


# Tables of space and study files that are not strategies.
RESERVED_NAMES = ("shared", "study")


class StrategyRegistry(Mapping[str, Strategy]):
    """Strategies by name, in the order of their registration.

    Args:
        strategies: Strategies to register first.

    Raises:
        InvalidInputError: One of them cannot be registered; see :meth:`register`.
    """

    def __init__(self, strategies: Iterable[Strategy] = ()) -> None:
        self._strategies: dict[str, Strategy] = {}
        for strategy in strategies:
            self.register(strategy)

    def __getitem__(self, name: str) -> Strategy:
        return self._strategies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._strategies)

    def __len__(self) -> int:
        return len(self._strategies)

    def register(self, strategy: Strategy) -> None:
        """Register a strategy under its name.

        Raises:
            InvalidInputError: The name is invalid or taken by another strategy, or a parameter is unknown.
        """
        faults = _name_faults(strategy.name)
        if self.get(strategy.name, strategy) != strategy:
            faults.append(f"Another strategy is named {strategy.name!r}: choose another name.")
        if faults := [*faults, *_parameter_faults(strategy)]:
            raise InvalidInputError(faults)
        self._strategies[strategy.name] = strategy

    def find(self, name: str) -> Strategy:
        """The strategy of a name.

        Raises:
            InvalidInputError: No strategy has this name.
        """
        if name not in self:
            raise InvalidInputError(unknown_name("strategy", name, self))
        return self[name]

    def snapshot(self) -> Mapping[str, Strategy]:
        """The strategies registered now, for :meth:`restore`."""
        return dict(self._strategies)

    def restore(self, snapshot: Mapping[str, Strategy]) -> None:
        """Register exactly the strategies of a :meth:`snapshot`."""
        self._strategies = dict(snapshot)


def _name_faults(name: str) -> list[str]:
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) and name not in RESERVED_NAMES:
        return []
    return [
        f"{name!r} cannot be a strategy's name: use lowercase letters, digits and '_', start with a letter, "
        f"and avoid the reserved names {', '.join(RESERVED_NAMES)}."
    ]


def _parameter_faults(strategy: Strategy) -> list[str]:
    names = parameter_names()
    return [
        f"Strategy {strategy.name!r}: {unknown_name('parameter', name, names)}"
        for name in sorted(strategy.takes | strategy.refuses)
        if name not in names
    ]


def takes_parameter(strategy: Strategy, parameter: str) -> bool:
    """Whether a parameter (dotted name) has an effect on a strategy.

    >>> from frostline.objectives.strategies import get_strategy, takes_parameter
    >>> takes_parameter(get_strategy("partial"), "freeze_depth"), takes_parameter(get_strategy("full"), "freeze_depth")
    (True, False)
    """
    if parameter in OWN_PARAMETERS:
        return parameter in strategy.takes
    return parameter not in strategy.refuses
