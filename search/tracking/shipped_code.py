"""The code that a kept network brings: the package that loads it, and the user's modules of its backbone and head."""

from __future__ import annotations

import ast
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ..study import sources_digest, training_package, training_sources
from .load_check import PACKAGE_PREFIX


def copy_code(folder: Path, backbone: str, head: str | None = None) -> str:
    """Copy what a network needs into a folder from which it can be imported.

    Args:
        folder: Folder to write.
        backbone: Name of the backbone; its module is imported if it is the user's.
        head: ``module:function`` of the user's head, whose module is imported; None for a built-in one.

    Returns:
        Name of the package.
    """
    package, target = training_package(), folder / _package()
    # The stubs too: a sub-package reads from its own which module has a name.
    sources = sorted([*training_sources(), *package.rglob("*.pyi")])
    _copy_all({source: target / source.relative_to(package) for source in sources})
    for name in (backbone, head or ""):
        module, _, function = name.partition(":")
        if function and module != "timm":
            _copy_modules(module, folder)
    return target.name


def _package() -> str:
    """Return a package name that is unique to this version: one process may serve models of several versions."""
    return f"{PACKAGE_PREFIX}{sources_digest()}"


def _copy_modules(name: str, folder: Path) -> None:
    """Copy a module and the modules beside it that it imports, directly or not; packages are copied whole."""
    root = _root(name)
    if root is None:
        return
    left, seen = [name.partition(".")[0]], set[str]()
    # What is installed imports installed libraries: these are requirements, not files beside it.
    alone = _is_installed(root)
    while left:
        module = left.pop()
        if module in seen:
            continue
        seen.add(module)
        sources = _copy_module(module, root, folder)
        if not alone:
            left += set[str]().union(*map(_imports, sources))


def _root(name: str) -> Path | None:
    """Return the folder from which an imported module was imported; None if it has no file."""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        return None
    own = Path(file).absolute()
    levels = name.count(".") + (own.name == "__init__.py")
    return own.parents[levels]


def _copy_module(name: str, root: Path, folder: Path) -> list[Path]:
    """Copy a top-level module, if Python finds it in a folder; return its sources."""
    spec = PathFinder.find_spec(name, [str(root)])
    if spec is None or not _is_found_there(name, spec):
        return []
    if spec.submodule_search_locations is None:
        source = Path(str(spec.origin))
        if source.suffix != ".py":
            return []
        _copy_all({source: folder / source.name})
        return [source]
    package = root / name
    # A folder without __init__.py may be anything, such as one with photos: only its modules are code.
    files = package.rglob("*") if spec.origin else package.rglob("*.py")
    kept = [file for file in files if file.is_file() and "__pycache__" not in file.parts]
    _copy_all({file: folder / file.relative_to(root) for file in kept})
    return [file for file in kept if file.suffix == ".py"]


def _is_found_there(name: str, spec: ModuleSpec) -> bool:
    """Return whether a name means this module: a library of the same name comes first."""
    if name in sys.builtin_module_names or name in sys.stdlib_module_names:
        return False
    loaded = getattr(sys.modules.get(name), "__spec__", None)
    first = loaded or PathFinder.find_spec(name) or spec
    here, there = (each.origin and Path(each.origin).resolve() for each in (first, spec))
    return here == there


def _imports(source: Path) -> frozenset[str]:
    """Return the top-level modules that a source imports anywhere, in functions too; not those of its own package."""
    try:
        found = source.stat()
        return _imports_of(source, found.st_mtime_ns, found.st_size)
    except (OSError, SyntaxError, ValueError):
        return frozenset()


@lru_cache(maxsize=4096)
def _imports_of(source: Path, changed: int, size: int) -> frozenset[str]:
    """Read the imports of a source of a time and size: once, as every final of a study asks for the same."""
    return frozenset(_named(ast.parse(source.read_bytes())))


def _named(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _is_installed(root: Path) -> bool:
    paths = [*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()]
    return any(root.resolve() == Path(path).resolve() for path in paths)


def _copy_all(targets: Mapping[Path, Path]) -> None:
    """Copy files, from each source to its target; their folders are made."""
    for folder in {target.parent for target in targets.values()}:
        folder.mkdir(parents=True, exist_ok=True)
    for source, target in targets.items():
        shutil.copyfile(source, target)
