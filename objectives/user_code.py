"""Modules of the user's, imported from the current folder too; no file there can stand in for a library."""

from __future__ import annotations

import hashlib
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

from .errors import InvalidInputError, unknown_name

_DIGITS = 12


def append_current_folder() -> bool:
    """Append the current folder to ``sys.path``, behind all libraries; return whether it was missing."""
    folder = str(Path.cwd())
    if missing := folder not in sys.path:
        sys.path.append(folder)
    # Files may have been written since Python last looked into the folder.
    importlib.invalidate_caches()
    return missing


@contextmanager
def current_folder_last() -> Iterator[None]:
    """Append the current folder to ``sys.path`` within the block."""
    appended, folder = append_current_folder(), str(Path.cwd())
    try:
        yield
    finally:
        # The user's code may have changed the path too; ours is the last entry of this folder.
        if appended and folder in sys.path:
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]


@contextmanager
def folder_first(folder: Path) -> Iterator[None]:
    """Put a folder before all others on ``sys.path`` within the block: that of the modules kept with a network."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def find_object(kind: str, name: str, noun: str = "function") -> Any:
    """Import what ``module:name`` names.

    Args:
        kind: What it is to users, such as ``Metric``.
        name: Its name.
        noun: What the module should define.

    Raises:
        InvalidInputError: The module does not exist, raises, or defines nothing of this name.
    """
    module_name, _, own = name.partition(":")
    if not (module_name and own):
        raise InvalidInputError(f"{kind} {name!r} is not module:{noun}, such as my_module:my_{noun}.")
    module = _import(f"{kind} {name!r}", module_name)
    found = getattr(module, own, None)
    if found is None:
        known = [each for each, value in vars(module).items() if callable(value) and not each.startswith("_")]
        raise InvalidInputError(unknown_name(f"{noun} in {module_name}", own, known) + library_note(module))
    return found


def find_function(kind: str, name: str) -> Callable[..., Any]:
    """Import the function that ``module:name`` names; arguments as in :func:`find_object`.

    Raises:
        InvalidInputError: See :func:`find_object`; or it is no function.
    """
    function = find_object(kind, name)
    if not callable(function):
        raise InvalidInputError(f"{kind} {name!r} is a {type(function).__name__}, not a function.")
    return function


def function_source(kind: str, name: str) -> str:
    """The name of a function of the user's with the digest of its code, for keys of what depends on it.

    Raises:
        InvalidInputError: See :func:`find_function`.
    """
    find_function(kind, name)
    return f"{name} {source_digest(name)}"


def _import(what: str, module: str) -> ModuleType:
    try:
        with current_folder_last():
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if not is_missing(error, module):
            raise InvalidInputError(f"{what}: importing {module} fails: {error}.") from error
        raise InvalidInputError(
            f"{what}: there is no module {error.name!r} here. "
            "Run frostline in the folder that holds it, or add that folder to PYTHONPATH."
        ) from None
    # The user's code.
    except Exception as error:
        raise InvalidInputError(f"{what}: importing {module} fails: {type(error).__name__}: {error}") from error


def source_digest(name: str) -> str:
    """Digest of the file of the module in ``module:name``, which is imported already; empty if it has no file."""
    file = getattr(sys.modules.get(name.partition(":")[0]), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()[:_DIGITS] if file else ""


def is_missing(error: BaseException, module: str) -> TypeGuard[ModuleNotFoundError]:
    """Whether an import failed because the module itself, or a package that holds it, does not exist."""
    return isinstance(error, ModuleNotFoundError) and bool(error.name) and f"{module}.".startswith(f"{error.name}.")


def library_note(module: ModuleType) -> str:
    """Sentence for a user whose file has the name of an installed library; empty if there is no such file.

    Args:
        module: Module that was imported under the name.

    Raises:
        InvalidInputError: The user has a folder of the name that cannot be read, which Python takes for an empty one.
    """
    below = Path.cwd() / module.__name__.replace(".", "/")
    if os.path.isdir(below) and not os.access(below, os.R_OK | os.X_OK):
        raise InvalidInputError(f"Cannot read the folder {below}. Give yourself access to it.")
    own = next((file for file in (below.with_suffix(".py"), below / "__init__.py") if file.is_file()), None)
    file = getattr(module, "__file__", None)
    if own is None or (file and own.samefile(file)):
        return ""
    where = file or "built in"
    return f" {own} was not imported, because Python has another module of that name ({where}): rename your file."
