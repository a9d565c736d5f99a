"""Strategies by name: the built-in ones and those of plugins."""

from __future__ import annotations

from .built_in import BUILT_IN_STRATEGIES
from .registry import Strategy, StrategyRegistry

STRATEGIES = StrategyRegistry(BUILT_IN_STRATEGIES)
# Names of the built-in strategies; all others come from plugins.
BUILT_IN = frozenset(STRATEGIES)


def register_strategy(strategy: Strategy) -> None:
    """Register a strategy under its name, so that studies can use it.

    Raises:
        InvalidInputError: The name is invalid or taken by another strategy, or a parameter is unknown.
    """
    STRATEGIES.register(strategy)


def get_strategy(name: str) -> Strategy:
    """The strategy of a name.

    Raises:
        InvalidInputError: No strategy has this name.

    Example:
        >>> from frostline.objectives.strategies import get_strategy
        >>> get_strategy("lp_ft").summary
        'the head first, on frozen features; then everything (Kumar et al. 2022)'
        >>> get_strategy("lpft")
        Traceback (most recent call last):
        frostline.objectives.errors.InvalidInputError: Unknown strategy 'lpft'. Did you mean 'lp_ft'? Valid: ...
    """
    return STRATEGIES.find(name)
