"""The strategies by name: the built-in ones, and those that plugins register."""

from __future__ import annotations

from .built_in import BUILT_IN_STRATEGIES, finetuning_phase, freeze_depth, head_phase
from .registry import Plan, Strategy, StrategyRegistry, takes_parameter

__all__ = [
    "BUILT_IN",
    "STRATEGIES",
    "Plan",
    "Strategy",
    "StrategyRegistry",
    "finetuning_phase",
    "freeze_depth",
    "get_strategy",
    "head_phase",
    "register_strategy",
    "takes_parameter",
]

STRATEGIES = StrategyRegistry(BUILT_IN_STRATEGIES)
# Names of the built-in ones; all others are plugins'.
BUILT_IN = frozenset(STRATEGIES)


def register_strategy(strategy: Strategy) -> None:
    """Let a strategy be used by its name.

    Raises:
        InvalidInputError: Its name is no name or that of another strategy, or it names unknown parameters.
    """
    STRATEGIES.register(strategy)


def get_strategy(name: str) -> Strategy:
    """The strategy of a name as users write it.

    Raises:
        InvalidInputError: No strategy has this name.
    """
    return STRATEGIES.find(name)
