"""No file that Frostline reads can run code: what loads files says so, wherever it stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("objectives", "storage", "search", "dashboards", "examples")
# What may run code from a file, and the argument that prevents it; None where nothing does.
LOADERS: dict[str, tuple[str, bool] | None] = {
    "torch.load": ("weights_only", True),
    "numpy.load": ("allow_pickle", False),
    "numpy.lib.format.read_array": ("allow_pickle", False),
    "torch.jit.load": None,
    "joblib.load": None,
    "pandas.read_pickle": None,
    **{f"{module}.{name}": None for module in ("pickle", "dill", "cloudpickle") for name in ("load", "loads")},
}


def full_names(tree: ast.AST) -> dict[str, str]:
    """What imported names stand for."""
    names = dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {each.asname: each.name for each in node.names if each.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return names


def unsafe(source: str) -> Iterator[str]:
    """Loading calls that lack the argument."""
    tree = ast.parse(source)
    names = full_names(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        first, dot, rest = ast.unparse(node.func).partition(".")
        if (name := names.get(first, first) + dot + rest) in LOADERS:
            needed = LOADERS[name]
            given = {each.arg: ast.unparse(each.value) for each in node.keywords}
            if needed is None or given.get(needed[0]) != str(needed[1]):
                yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch as t\nt.load(path)",
        "from torch import load\nload(path)",
        "from torch import jit\njit.load(path)",
        "import numpy as np\nnp.load(path)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "from numpy.lib import format as npy\nnpy.read_array(file, allow_pickle=True)",
        "from joblib import load as read\nread(path)",
        "import pickle\npickle.loads(data)",
    ],
)
def test_an_unsafe_load_is_found(source: str) -> None:
    assert len(list(unsafe(source))) == 1


@pytest.mark.parametrize(
    "source", ["import torch as t\nt.load(path, weights_only=True)", "import json\njson.load(file)"]
)
def test_a_safe_load_is_none(source: str) -> None:
    assert list(unsafe(source)) == []


def test_all_loads_are_safe() -> None:
    files = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 200
    assert {str(file): found for file in files if (found := list(unsafe(file.read_text("utf-8"))))} == {}
