"""Mutants of a tiny module: each gets the outcome that its tests give it, and the table counts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import mutants, mutation
from benchmarks.mutant_tests import Part, Runner
from benchmarks.mutants import Mutant
from benchmarks.mutation import Found

MODULE = """from __future__ import annotations

UNUSED = 3


def more(number: int | None) -> int:
    return (number or 0) + 1
"""
TESTS = """from tiny import more


def test_more() -> None:
    assert more(1) == 2
"""
PART = Part("tiny", ("tiny.py",), ("test_tiny.py",), conftest=".")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tiny.py").write_text(MODULE)
    (tmp_path / "test_tiny.py").write_text(TESTS)
    return tmp_path


def mutant(before: str, after: str) -> Mutant:
    assert before in MODULE
    return Mutant("tiny.py", 1, MODULE.replace(before, after), f"`{before}` → `{after}`")


def test_a_mutant_is_killed_survives_or_times_out(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner(PART, root, package="")
    assert runner.tests == 1
    assert runner.outcome(mutant("+ 1", "- 1")) == "killed"
    assert runner.outcome(mutant("UNUSED = 3", "UNUSED = 4")) == "survived"
    assert runner.outcome(mutant("UNUSED = 3", "import os; os._exit(0)")) == "killed"
    monkeypatch.setattr(runner, "_limit", 3.0)
    assert runner.outcome(mutant("UNUSED = 3", "while True: pass")) == "timed out"
    # Nothing was written.
    assert (root / "tiny.py").read_text() == MODULE


def test_tests_that_fail_without_a_mutant_say_nothing_of_mutants(root: Path) -> None:
    (root / "test_tiny.py").write_text(TESTS.replace("== 2", "== 3"))
    with pytest.raises(RuntimeError, match=r"(?s)the tests of tiny fail without a mutant:.*assert 2 == 3"):
        Runner(PART, root, package="")


def test_cosmic_ray_makes_the_mutants_but_for_those_of_annotations(root: Path) -> None:
    pytest.importorskip("cosmic_ray", reason="pip install cosmic-ray")
    places = mutants.places_of("tiny.py", root)
    made = mutants.mutate(places, 999, root)
    assert {each.line for each in made} == {3, 7}
    assert len({each.code for each in made}) == len(made) < len(places)
    changes = [each.change for each in made]
    assert "`return (number or 0) + 1` → `return (number or 0) - 1`" in changes
    assert "`return (number or 0) + 1` → `return (number and 0) + 1`" in changes
    found, again = (mutation.measure(PART, most=4, root=root, package="") for _ in range(2))
    assert (found.places, len(found.outcomes), found.tests) == (len(places), 4, 1)
    assert found.outcomes == again.outcomes
    assert {mutant.code for mutant, _ in found.outcomes} <= {mutant.code for mutant in made}


def test_the_table_counts_outcomes_and_names_the_survivors() -> None:
    one, two = mutant("+ 1", "- 1"), mutant("= 3", "= 4")
    outcomes = [(one, "killed")] * 15 + [(one, "timed out")] * 2 + [(two, "survived")] * 3
    few = Found("tiny", 99, outcomes, 7, 1.0)
    text = mutation.markdown([few, Found("all", 1, [(one, "killed")], 1, 1.0)], ["by hand"])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    assert rows[2:] == [
        ["tiny", "99", "20", "15", "2", "3", "85.0", "yes", "7"],
        ["all", "1", "1", "1", "0", "0", "100.0", "yes", "1"],
    ]
    assert "by hand" in text
    assert text.count("- `tiny.py:1` `= 3` → `= 4`") == 3
    assert "Survived: all" not in text
    fewer = mutation.markdown([Found("tiny", 99, [*outcomes, (two, "survived")], 7, 1.0)])
    assert "| NO " in fewer


def test_all_files_of_the_parts_are_there_and_none_evaluates_its_annotations() -> None:
    for part in mutation.PARTS:
        for name in (*part.files, *part.tests):
            assert "from __future__ import annotations" in (mutants.ROOT / name).read_text(encoding="utf-8")
        known = "".join((mutants.ROOT / name).read_text(encoding="utf-8") for name in part.tests)
        assert all(name in known for name in part.without if name not in ("postgres", "mariadb"))
