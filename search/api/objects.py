"""Objects of the user's as settings: their importable names, by which other processes and later runs find them.

A study outlives the process that starts it: its workers, and whoever resumes it, import the user's code. So an object
stands for the name of the module that defines it, and an object without such a name is refused.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ...objectives.errors import InvalidInputError
from ...objectives.strategies import BUILT_IN, Strategy
from ...objectives.user_code import current_folder_last

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler

_HOW = (
    "Other processes must be able to import it: write it into a file, such as my_module.py (in a notebook: "
    "%%writefile my_module.py), and import it from there."
)


def name_backbone(backbone: str | Callable[..., Any]) -> str:
    """Return the name of a backbone: the one given, or ``module:function`` of a function.

    Raises:
        InvalidInputError: It is neither, or no other process could import it.
    """
    return _name_function("backbone", backbone, "the function that makes the network: each trial starts from a new one")


def name_metric(metric: str | Callable[..., Any]) -> str:
    """Return the name of a metric, as :func:`name_backbone` does."""
    return _name_function("metric", metric, "a function of probabilities (N, K) and classes (N,)")


def name_head(head: str | Callable[..., Any]) -> str:
    """Return the name of a head, as :func:`name_backbone` does."""
    return _name_function("head", head, "a function of feature_shape and num_classes that makes a torch.nn.Module")


def name_sampler(sampler: str | Callable[..., Any] | BaseSampler) -> str:
    """Return the name of a sampler: the one given, or ``module:object`` of an object, class or function.

    Raises:
        InvalidInputError: It is no Optuna sampler and makes none, or no other process could import it.
    """
    from optuna.samplers import BaseSampler

    if not isinstance(sampler, BaseSampler):
        return _name_function("sampler", sampler, "an optuna.samplers.BaseSampler, or the class or function of one")
    for module in [*sys.modules.values()]:
        holds = [name for name, value in [*getattr(module, "__dict__", {}).items()] if value is sampler]
        if holds and module.__name__ != "__main__":
            return f"{module.__name__}:{holds[0]}"
    kind = type(sampler)
    raise InvalidInputError(
        f"sampler: this {kind.__name__} is at the top of no module. {_HOW} Or give its class, which gets a seed: "
        f"sampler=optuna.samplers.{kind.__name__}"
    )


def _name_function(what: str, given: Any, wanted: str) -> str:
    """Return ``module:function`` of a function or class, or the name that is given.

    Raises:
        InvalidInputError: It is neither, or no other process could import it.
    """
    if isinstance(given, str):
        return given
    if not callable(given) or not hasattr(given, "__qualname__"):
        raise InvalidInputError(f"{what} is a {type(given).__name__}. Give a name, or {wanted}.")
    own: Any = given
    module, name = own.__module__, own.__qualname__
    _require_importable(what, module, name, given)
    return f"{module}:{name}"


def name_strategies(strategies: Iterable[str | Strategy]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of strategies, and those of the modules that register the ones that are not built in.

    Raises:
        InvalidInputError: A strategy is of another kind, or no other process could import its module.
    """
    names, modules = [], []
    for each in (strategies,) if isinstance(strategies, str | Strategy) else strategies:
        if isinstance(each, str):
            names.append(each)
            continue
        if not isinstance(each, Strategy):
            raise InvalidInputError(f"strategies has a {type(each).__name__}: give names or Strategy objects.")
        names.append(each.name)
        if each.name not in BUILT_IN:
            plan: Any = each.plan
            _require_importable(f"strategy {each.name}", plan.__module__, plan.__qualname__, plan)
            modules.append(plan.__module__)
    return tuple(names), tuple(dict.fromkeys(modules))


def _require_importable(what: str, module: str, name: str, value: Any) -> None:
    """Refuse an object that its module's name does not lead to.

    Raises:
        InvalidInputError: Another process could not import it.
    """
    if module == "__main__":
        raise InvalidInputError(f"{what}: {name} is defined in this notebook or script. {_HOW}")
    with current_folder_last():
        found = getattr(importlib.import_module(module), name, None)
    if found is not value:
        raise InvalidInputError(f"{what}: {name} is not a function at the top of module {module}. {_HOW}")
