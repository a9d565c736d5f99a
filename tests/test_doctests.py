"""The examples in docstrings give what they show."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    file.relative_to(ROOT)
    for folder in ("objectives", "storage", "search", "dashboards")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if ">>>" in file.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_examples_give_what_they_show(file: Path) -> None:
    parts = file.with_suffix("").parts
    module = import_module(".".join(("frostline", *parts[:-1], *(() if parts[-1] == "__init__" else parts[-1:]))))
    outcome = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted > 0
    assert outcome.failed == 0
