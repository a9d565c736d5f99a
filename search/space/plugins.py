"""Plugins: user modules, imported by name, that register strategies."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from ...objectives.errors import InvalidInputError
from ...objectives.strategies import BUILT_IN, STRATEGIES
from ...objectives.user_code import append_current_folder, is_missing, library_note
from .default_space import default_tables
from .parsing import create_space

# Names of strategies by the plugin that registered them; a process imports a module once.
_registered: dict[str, tuple[str, ...]] = {}


def load_plugins(names: Iterable[str]) -> tuple[str, ...]:
    """Import modules that register strategies, also from the current folder.

    Args:
        names: Names of the modules, as in an ``import`` statement.

    Returns:
        Names of the strategies that the modules registered.

    Raises:
        InvalidInputError: A module is missing, raises or registers no strategy, or a strategy of it is invalid; the
            message names all faults.
    """
    faults: list[str] = []
    found: list[str] = []
    for name in names:
        try:
            found += _load(name)
        except InvalidInputError as error:
            faults += [f"plugin {name}: {fault}" for fault in error.faults]
    if faults:
        raise InvalidInputError(faults)
    return tuple(dict.fromkeys(found))


def _load(name: str) -> tuple[str, ...]:
    if name in _registered:
        return _registered[name]
    before, others = STRATEGIES.snapshot(), {each for own in _registered.values() for each in own}
    modules, imported = set(sys.modules), name in sys.modules
    known = BUILT_IN | others if imported else before.keys()
    try:
        _import(name)
        new = tuple(each for each in STRATEGIES if each not in known)
        # If another plugin imported this module earlier, its strategies are registered already.
        if not new and not (imported and others):
            note = library_note(sys.modules[name])
            raise InvalidInputError(f"it registers no strategy. Call register_strategy(Strategy(...)) in it.{note}")
        _check_domains(new)
    except InvalidInputError:
        # Python runs a module once. Those whose strategies are taken back must run again when the plugin is corrected,
        # also a module that the plugin imports.
        taken_back = {getattr(STRATEGIES[each].plan, "__module__", name) for each in STRATEGIES.keys() - before.keys()}
        for module in {name, *taken_back} - modules:
            sys.modules.pop(module, None)
        STRATEGIES.restore(before)
        raise
    _registered[name] = new
    return new


def _import(name: str) -> None:
    """Import a module; turn what it raises into one line that names file and line."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name) or name.endswith(".py"):
        module = Path(name).stem if name.endswith(".py") else "my_module"
        raise InvalidInputError(f"give the module's name as in an import, without folder and .py: --plugin {module}")
    # It stays on the path: a plan may import more when it is called.
    append_current_folder()
    try:
        importlib.import_module(name)
    except InvalidInputError:
        raise
    except (Exception, SystemExit) as error:
        if is_missing(error, name):
            raise InvalidInputError(
                f"there is no module {error.name!r} in {Path.cwd()} or where Python looks for modules. "
                "Run the command in its folder, or add that folder to PYTHONPATH."
            ) from None
        raise InvalidInputError(f"it cannot be imported: {_describe(error)}") from error


def _describe(error: BaseException) -> str:
    """Describe an exception in one line, with the file and line in the module that raised it."""
    reason, *_ = [*str(error).splitlines(), ""]
    *_, last = traceback.extract_tb(error.__traceback__)
    # The module's own frames follow those of the import; a syntax error has none and names its place itself.
    own = last.filename not in (importlib.__file__, __file__) and not last.filename.startswith("<frozen")
    place = f" ({last.filename}, line {last.lineno})" if own else ""
    return f"{type(error).__name__}: {reason}{place}"


def _check_domains(names: Iterable[str]) -> None:
    """Check the default domains of the plugins' strategies.

    Raises:
        InvalidInputError: A domain is invalid."""
    tables = default_tables()
    for name in names:
        create_space({"shared": tables["shared"], name: tables[name]})
