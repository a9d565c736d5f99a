"""Optuna's tables: those of another version are refused, with what to install."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.storages._rdb import models
from sqlalchemy import Column, Integer, MetaData, Table, text

from frostline.search.study.optuna_schema import COLUMNS, REVISION, SCHEMA_VERSION, TESTED_OPTUNA, known_tables
from frostline.search.study.optuna_storage import open_storage
from frostline.search.study.studies import study_names
from frostline.storage.errors import SchemaError
from frostline.storage.workspace import Workspace

INSTALL = re.escape(f"pip install optuna=={TESTED_OPTUNA}")
ROOT = Path(__file__).parents[3]


def tables_without(left_out: str = "") -> dict[str, Table]:
    """Optuna's tables, without one column of ``table.column``."""
    copies = MetaData()
    for name, columns in COLUMNS.items():
        Table(name, copies, *(Column(each, Integer) for each in columns if f"{name}.{each}" != left_out))
    return dict(copies.tables)


def test_optuna_as_tested_is_known() -> None:
    tables = models.BaseModel.metadata.tables
    assert known_tables(tables, models.SCHEMA_VERSION) is tables
    assert f"\noptuna=={TESTED_OPTUNA}\n" in (ROOT / "constraints.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("column", [f"{name}.{each}" for name, columns in COLUMNS.items() for each in sorted(columns)])
def test_a_column_that_is_gone_is_refused(column: str) -> None:
    table, _, name = column.partition(".")
    with pytest.raises(SchemaError, match=f"{table} lacks {name}.*{INSTALL}"):
        known_tables(tables_without(column), SCHEMA_VERSION)


@pytest.mark.parametrize("table", COLUMNS)
def test_a_new_column_is_refused(table: str) -> None:
    tables = tables_without()
    tables[table].append_column(Column("weight", Integer, nullable=False))
    with pytest.raises(SchemaError, match=f"{table} has a new weight.*{INSTALL}"):
        known_tables(tables, SCHEMA_VERSION)


def test_a_table_that_is_gone_and_another_version_are_refused() -> None:
    tables = tables_without()
    del tables["trial_params"]
    with pytest.raises(SchemaError, match=rf"trial_params lacks param_id.*version 13, not 12.*{INSTALL}"):
        known_tables(tables, 13)


def test_a_database_of_another_revision_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path).create()
    open_storage(workspace).engine.dispose()
    monkeypatch.setattr("frostline.search.study.optuna_schema.REVISION", "v3.0.0.d")
    with pytest.raises(SchemaError, match=rf"revision {re.escape(REVISION)}, not v3\.0\.0\.d.*{INSTALL}"):
        open_storage(workspace)


@pytest.mark.parametrize(
    ("revision", "advice"), [("v3.0.0.d", "optuna storage upgrade"), ("v9.0.0.a", "pip install -U optuna")]
)
def test_a_database_that_this_optuna_cannot_use_is_refused(tmp_path: Path, revision: str, advice: str) -> None:
    workspace = Workspace(tmp_path).create()
    storage = open_storage(workspace)
    with storage.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    storage.engine.dispose()
    with pytest.raises(SchemaError, match=f"studies.db cannot be used: .*{advice}"):
        study_names(workspace)


def test_the_command_line_refuses_it_in_words(tmp_path: Path) -> None:
    code = (
        "from optuna.storages._rdb import models\n"
        "models.SCHEMA_VERSION = 13\n"
        "from frostline.dashboards.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "search", "sklearn:digits", "--workspace", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 2
    assert re.search(INSTALL, " ".join(ended.stderr.split()))
    assert "Traceback" not in ended.stderr
