"""Mutants of modules: one changed operator, number, comparison, constant, decorator, loop or exception each.

Cosmic Ray knows where a module can be changed, and changes it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        file: Of the module, from the root.
        line: That is changed.
        code: Of the whole changed module.
        change: The line before and after.
    """

    file: str
    line: int
    code: str
    change: str

    def __str__(self) -> str:
        return f"`{self.file}:{self.line}` {self.change}"


@dataclass(frozen=True)
class Place:
    """Where Cosmic Ray can change something.

    Attributes:
        file: Of the module, from the root.
        line: That is changed.
        operator: Cosmic Ray's name of the change.
        number: Of the places of this operator in the module.
    """

    file: str
    line: int
    operator: str
    number: int


def places_of(file: str, root: Path = ROOT) -> list[Place]:
    """All places where Cosmic Ray can change a module.

    Raises:
        SystemExit: It is not installed; says how to.
    """
    try:
        trees, plugins = (importlib.import_module(f"cosmic_ray.{name}") for name in ("ast", "plugins"))
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error.name} is missing. Install it with: pip install cosmic-ray") from None
    nodes = list(trees.ast_nodes(trees.get_ast((root / file).read_text(encoding="utf-8"))))
    kinds = {name: plugins.get_operator(name) for name in plugins.operator_names()}
    found = list[Place]()
    for name, kind in kinds.items():
        if not kind.arguments():
            lines = [start[0] for node in nodes for start, _ in kind().mutation_positions(node)]
            found += [Place(file, line, name, number) for number, line in enumerate(lines)]
    return found


def mutate(places: Sequence[Place], most: int, root: Path = ROOT) -> list[Mutant]:
    """The mutants of the first places, up to a number of them.

    Without those that Python does not compile, that change annotations alone, or that are the same as another.
    Annotations are not evaluated in these modules (``from __future__ import annotations``).
    """
    plugins, mutating = (importlib.import_module(f"cosmic_ray.{name}") for name in ("plugins", "mutating"))
    sources = {place.file: (root / place.file).read_text(encoding="utf-8") for place in places}
    found, seen = list[Mutant](), {(file, _run_code(source)) for file, source in sources.items()}
    for place in places:
        if len(found) == most:
            break
        source = sources[place.file]
        code = mutating.mutate_code(source, plugins.get_operator(place.operator)(), place.number)
        with contextlib.suppress(SyntaxError), warnings.catch_warnings():
            # That mutants are odd is no news.
            warnings.simplefilter("ignore", SyntaxWarning)
            if (run := (place.file, _run_code(code))) not in seen:
                seen.add(run)
                found.append(Mutant(place.file, place.line, code, _change(source, code)))
    return found


def _run_code(source: str) -> str:
    """What of a module is run: its syntax tree without annotations."""
    tree = ast.parse(source)
    compile(source, "mutant", "exec", dont_inherit=True)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def _change(before: str, after: str) -> str:
    old, new = before.splitlines(), after.splitlines()
    first = next(place for place, (one, other) in enumerate(zip(old, new, strict=False)) if one != other)
    removed = len(old) - len(new)
    return f"`{old[first].strip()}` → `{new[first].strip() if removed <= 0 else ''}`"
