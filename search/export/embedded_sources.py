"""Sources of this project's own functions, to be written into a script that does without the project.

What a script must compute to the same numbers (crops, the order of batches, schedules) is not written a second time:
the script gets the function itself, with its docstring cut to the first paragraph, and all that it needs.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

_PRAGMA = re.compile(r"\s+# (?:pyright|noqa).*$")


def embed(*wanted: Any, without: tuple[str, ...] = ()) -> str:
    """Return the source of functions and classes with all functions, classes and constants that they use at run time.

    Args:
        wanted: Functions, classes, and constants as (a function of their module, their name).
        without: Names that the script defines itself.

    Raises:
        KeyError: A module defines no such constant.
    """
    modules: dict[str, _Module] = {}
    for each in wanted:
        owner, name = each if isinstance(each, tuple) else (each, each.__name__)
        _collect(_module_of(modules, inspect.getmodule(owner)), name, modules, without)
    return re.sub(r"\n{4,}", "\n\n\n", "\n".join(module.source() for module in modules.values())).strip()


@dataclass
class _Module:
    """A module of which parts are wanted.

    Attributes:
        module: The module.
        lines: Its source.
        defined: What its top level defines, by name.
        imported: Modules of this project from which it imports, by the imported name.
        wanted: Names of the wanted parts.
    """

    module: ModuleType
    lines: list[str]
    defined: dict[str, ast.stmt]
    imported: dict[str, str]
    wanted: set[str] = field(default_factory=set)

    def source(self) -> str:
        chosen = {id(self.defined[name]): self.defined[name] for name in self.wanted}
        ordered = sorted(chosen.values(), key=lambda node: node.lineno)
        return "\n".join(line for node in ordered for line in _source(node, self.lines))


def _module_of(modules: dict[str, _Module], module: ModuleType | None) -> _Module:
    assert module is not None, "a function has a module"
    if module.__name__ not in modules:
        lines = inspect.getsource(module).splitlines()
        body = ast.parse("\n".join(lines)).body
        defined = {name: node for node in body for name in _names(node)}
        imported = {
            alias.name: "." * node.level + (node.module or "")
            for node in body
            if isinstance(node, ast.ImportFrom) and node.level
            for alias in node.names
        }
        modules[module.__name__] = _Module(module, lines, defined, imported)
    return modules[module.__name__]


def _collect(module: _Module, name: str, modules: dict[str, _Module], without: tuple[str, ...]) -> None:
    """Add a part of a module, and what it uses; the modules that it needs come before its own."""
    if name in module.wanted or name in without:
        return
    module.wanted.add(name)
    for used in sorted(_used(module.defined[name])):
        if used in module.defined:
            _collect(module, used, modules, without)
        elif used in module.imported:
            value: Any = getattr(module.module, used)
            source = getattr(value, "__module__", None)
            origin = sys.modules[source] if source else _origin(module, used)
            _collect(_module_of(modules, origin), used, modules, without)
            modules[module.module.__name__] = modules.pop(module.module.__name__)


def _origin(module: _Module, name: str) -> ModuleType:
    """Return the module from which a constant is imported."""
    return importlib.import_module(module.imported[name], module.module.__package__)


def _used(node: ast.AST) -> set[str]:
    """Return the names that a statement reads at run time: annotations are not evaluated."""
    found: set[str] = set()
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns"):
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                found |= _used(each)
    return found | ({node.id} if isinstance(node, ast.Name) else set())


def _names(node: ast.stmt) -> list[str]:
    """Return the names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]


def _source(node: ast.stmt, lines: list[str]) -> Iterator[str]:
    """Yield the lines of a statement, with blank lines around a definition."""
    defines = isinstance(node, ast.FunctionDef | ast.ClassDef)
    decorators = node.decorator_list if isinstance(node, ast.FunctionDef | ast.ClassDef) else []
    first, last = min([node.lineno, *(each.lineno for each in decorators)]), node.end_lineno or node.lineno
    shortened = dict(_docstrings(node))
    yield from ("", "") if defines else ()
    number = first
    while number <= last:
        end, line = shortened.get(number, (number, lines[number - 1]))
        yield _PRAGMA.sub("", line)
        number = end + 1
    yield from ("", "") if defines else ()


def _docstrings(node: ast.stmt) -> Iterator[tuple[int, tuple[int, str]]]:
    """Yield first line, last line and short form of each docstring in a statement."""
    for each in ast.walk(node):
        if isinstance(each, ast.FunctionDef | ast.ClassDef) and (text := ast.get_docstring(each)):
            holder = each.body[0]
            indent, summary = " " * holder.col_offset, text.split("\n\n")[0].split("\n")
            short = "\n".join([f'{indent}"""{summary[0]}', *(f"{indent}{line}" for line in summary[1:])])
            yield holder.lineno, (holder.end_lineno or holder.lineno, f'{short}"""')
