"""No file that Frostline reads can run code: what loads files says so, wherever it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("objectives", "storage", "search", "dashboards", "examples")
# What may run code from a file, and the argument that prevents it.
LOADERS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def unsafe(source: str) -> Iterator[str]:
    """Loading calls that lack the argument."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in LOADERS:
            argument, value = LOADERS[name]
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if given.get(argument) != str(value):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("source", ["torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)"])
def test_an_unsafe_load_is_found(source: str) -> None:
    assert list(unsafe(source)) != []


def test_all_loads_are_safe() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    assert {str(file): found for file in files if (found := list(unsafe(file.read_text("utf-8"))))} == {}
