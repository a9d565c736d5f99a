"""Space files: written, edited, read back with all faults at once."""

from __future__ import annotations

import dataclasses
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from frostline.objectives.errors import InvalidInputError
from frostline.objectives.strategies import STRATEGIES
from frostline.search.space.default_space import default_tables
from frostline.search.space.parsing import create_space, resolve_space
from frostline.search.space.space_file import read_space, tables_of, write_space


@given(st.integers(1, 1_000_000))
def test_the_default_space_survives_the_round_trip(images: int) -> None:
    tables = default_tables(images)
    text = write_space(tables)
    assert tomllib.loads(text) == tables
    assert create_space(tomllib.loads(text)) == create_space(tables)


# TOML's characters are all of Unicode's but surrogates.
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALAR = st.one_of(TEXT, st.booleans(), st.integers(), st.floats(allow_nan=False))
PARAMETER = st.one_of(SCALAR, st.lists(SCALAR), st.dictionaries(TEXT, SCALAR | st.lists(SCALAR)))
TABLE = st.dictionaries(TEXT.filter(lambda name: name != "head"), PARAMETER)


@given(st.dictionaries(TEXT, TABLE), TABLE)
@example({"\U0001f338": {"caf\u00e9 \x7f": {"choices": ["\U0001f338", "\\ud83c\\udf38", float("inf")]}}}, {})
def test_any_text_is_read_back_and_written_in_ascii(tables: dict[str, dict[str, Any]], head: dict[str, Any]) -> None:
    tables = {name: table | ({"head": head} if head else {}) for name, table in tables.items()}
    text = write_space(tables)
    assert text.isascii()
    assert tomllib.loads(text) == tables


def test_a_summary_of_several_lines_stays_a_comment(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = "first line\nsecond = 1\r\n[third]"
    strategies = {"full": dataclasses.replace(STRATEGIES["full"], summary=summary)}
    monkeypatch.setattr("frostline.search.space.space_file.STRATEGIES", strategies)
    assert tomllib.loads(write_space({"full": {"epochs": 3}})) == {"full": {"epochs": 3}}


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(write_space(default_tables()), encoding="utf-8")
    assert read_space(path) == create_space(default_tables())


def test_a_studys_space_can_be_written_and_read_back() -> None:
    space = resolve_space(create_space(default_tables()), 7)
    assert create_space(tomllib.loads(write_space(tables_of(space)))) == space


def test_one_strategy_can_be_written_alone() -> None:
    tables = {name: table for name, table in default_tables().items() if name in ("shared", "lp_ft")}
    assert list(create_space(tomllib.loads(write_space(tables))).strategies) == ["lp_ft"]


def test_the_file_explains_itself() -> None:
    text = write_space(default_tables())
    for part in ("choices", "low", "when", "negative freeze_depth", "the head first"):
        assert part in text


def test_the_space_of_the_demo_is_valid() -> None:
    text = files("frostline.search.cli").joinpath("demo_space.toml").read_text(encoding="utf-8")
    assert len(resolve_space(create_space(tomllib.loads(text)), 10).strategies) == 5


FAULTY = """
[shared]
learning_rat = 0.1
warmup = { low = 0.3, high = 0.1 }
dropout = 0.1
optimizer = { choices = ["sgd", "adagrad"] }

[full]
weight_decay = { low = 0, high = 0.1, log = true }
freeze_depth = 3
label_smoothing = { low = 0.0, high = 0.2, default = 0.5 }
schedule = { choice = ["cosine"] }

[full.head]
width = { low = 8, high = 64, when = { "head.hidden_layers" = [1] } }

[partail]
epochs = 3
"""
EXPECTED = [
    ("[shared]", "'learning_rat'", "Did you mean 'learning_rate'?"),
    ("[shared] warmup", "low is above high: 0.3 > 0.1"),
    ("[shared]", "'dropout'", "Did you mean 'head.dropout'?"),
    ("[shared] optimizer", "'adagrad'"),
    ("[full] weight_decay", "log needs a low above 0"),
    ("[full] takes no freeze_depth",),
    ("[full] label_smoothing", "default 0.5"),
    ("[full] schedule", "choice: unknown key; valid: choices"),
    ("[full] head.width", "'head.hidden_layers' is not searched"),
    ("'partail'", "Did you mean 'partial'?"),
]


def test_all_faults_of_a_file_come_at_once_by_section_and_name(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text(FAULTY)
    with pytest.raises(InvalidInputError) as refusal:
        read_space(path)
    found = refusal.value.faults
    assert all(fault.startswith(f"{path}: ") for fault in found)
    for parts in EXPECTED:
        assert any(all(part in fault for part in parts) for fault in found), (parts, found)
    assert len(found) <= len(EXPECTED) + 2


def test_a_file_that_is_not_toml_says_where(tmp_path: Path) -> None:
    path = tmp_path / "space.toml"
    path.write_text("[full]\nepochs = = 3\n")
    with pytest.raises(InvalidInputError, match=r"not valid TOML.*line 2") as refusal:
        read_space(path)
    assert str(path) in str(refusal.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"missing\.toml cannot be read: No such file"):
        read_space(tmp_path / "missing.toml")
    with pytest.raises(InvalidInputError, match="cannot be read: Is a directory"):
        read_space(tmp_path)
    binary = tmp_path / "space.toml"
    binary.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(InvalidInputError, match=r"space\.toml cannot be read: not a text file"):
        read_space(binary)
