"""The notebooks among the examples: kept with their outputs, and running to the same kind of outputs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))


def read(file: Path) -> Any:
    return nbformat.read(file, as_version=4)


def outputs(cell: Any) -> list[tuple[str, ...]]:
    """Kind of each output, with the forms of what is displayed; what is printed comes in pieces, which count as one."""
    kinds = [(output.output_type, *sorted(output.get("data", {}))) for output in cell.get("outputs", [])]
    return [kind for kind, before in zip(kinds, [None, *kinds], strict=False) if not kind == before == ("stream",)]


def printed(notebook: Any) -> str:
    """All text of the outputs."""
    every = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(output.get("text", "") + output.get("data", {}).get("text/plain", "") for output in every)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_is_kept_with_its_outputs(file: Path) -> None:
    notebook = read(file)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert all(kind[0] in ("stream", "display_data", "execute_result") for cell in code for kind in outputs(cell))
    # Nothing of the machine that made them.
    assert not re.search(r"/(tmp|home|root|Users|work)\b", file.read_text(encoding="utf-8"))
    assert f"({file.name})" in (EXAMPLES / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.name)
def test_a_notebook_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("execute", EXAMPLES / "execute.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    kept, made = read(file), module.execute(file, tmp_path)
    assert [outputs(cell) for cell in made.cells] == [outputs(cell) for cell in kept.cells]
    leaders = [
        re.findall(r"^(?:Undecided: )?(\w+) (?:wins|leads)\b", printed(each), re.MULTILINE) for each in (kept, made)
    ]
    # Which strategy leads is no matter of the machine's rounding: it is ahead by far.
    assert leaders[0]
    assert leaders[0] == leaders[1]
