"""Objects of the user's as settings: their importable names, by which other processes and later runs find them.

A study outlives the process that starts it: its workers, and whoever resumes it, import the user's code. So an object
stands for the name of the module that defines it, and an object without such a name is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

from ...objectives.errors import InvalidInputError
from ...objectives.strategies import BUILT_IN, Strategy
from ...objectives.user_code import current_folder_last

_HOW = (
    "Other processes must be able to import it: write it into a file, such as my_module.py (in a notebook: "
    "%%writefile my_module.py), and import it from there."
)


def name_backbone(backbone: str | Callable[..., Any]) -> str:
    """Return the name of a backbone: the one given, or ``module:function`` of a function.

    Raises:
        InvalidInputError: It is neither, or no other process could import it.
    """
    if isinstance(backbone, str):
        return backbone
    if not callable(backbone) or not hasattr(backbone, "__qualname__"):
        kind = type(backbone).__name__
        raise InvalidInputError(
            f"backbone is a {kind}. Give a name, or the function that makes the network: each trial starts from a new "
            "one."
        )
    module, name = backbone.__module__, backbone.__qualname__
    _require_importable("backbone", module, name, backbone)
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
