"""The schema of Optuna's tables as Frostline knows it, and whether the installed Optuna and a database have it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from sqlalchemy import DateTime, Engine, Table, column, inspect, table, text

from ...storage.errors import SchemaError

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

# The tested version of Optuna, with the number and the Alembic revision of its schema.
TESTED_OPTUNA = "5.0.0"
SCHEMA_VERSION = 12
REVISION = "v3.2.0.a"
COLUMNS = {
    "studies": {"study_id", "study_name"},
    "study_user_attributes": {"study_user_attribute_id", "study_id", "key", "value_json"},
    "trials": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "trial_values": {"trial_value_id", "trial_id", "objective", "value", "value_type"},
    "trial_params": {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    "trial_intermediate_values": {
        "trial_intermediate_value_id",
        "trial_id",
        "step",
        "intermediate_value",
        "intermediate_value_type",
    },
    "trial_user_attributes": {"trial_user_attribute_id", "trial_id", "key", "value_json"},
    "trial_system_attributes": {"trial_system_attribute_id", "trial_id", "key", "value_json"},
}
_TYPES = {"datetime_start": DateTime, "datetime_complete": DateTime}
# The same tables for readers; states and kinds of numbers are text.
TABLES: Mapping[str, Any] = {
    name: table(name, *(column(each, _TYPES.get(each)) for each in sorted(columns)))
    for name, columns in COLUMNS.items()
}


def known_tables(tables: Mapping[str, Table], schema_version: int) -> Mapping[str, Any]:
    """Return Optuna's tables of trials after checking that they are the known ones.

    Args:
        tables: Optuna's tables by name.
        schema_version: Optuna's version of the schema.

    Raises:
        SchemaError: A column is missing or new, or the version differs: rows would be wrong, or have another meaning.
    """
    found = {name: {column.name for column in tables[name].columns} if name in tables else set() for name in COLUMNS}
    faults = [f"{name} lacks {column}" for name in COLUMNS for column in sorted(COLUMNS[name] - found[name])]
    faults += [f"{name} has a new {column}" for name in COLUMNS for column in sorted(found[name] - COLUMNS[name])]
    if schema_version != SCHEMA_VERSION:
        faults.append(f"the schema is version {schema_version}, not {SCHEMA_VERSION}")
    if faults:
        raise _unknown(", ".join(faults))
    return tables


def has_known_schema(engine: Engine) -> bool:
    """Return whether a database has the known tables; Optuna's answer needs Alembic, which loads slowly."""
    if not inspect(engine).has_table("alembic_version"):
        return False
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT version_num FROM alembic_version"))) == [REVISION]


def require_known_schema(storage: RDBStorage) -> None:
    """Check that a database has the known tables.

    Raises:
        SchemaError: The tables belong to another version of Optuna.
    """
    if (revision := storage.get_current_version()) != REVISION:
        raise _unknown(f"the database is at revision {revision}, not {REVISION}")


def _unknown(what: str) -> SchemaError:
    return SchemaError(
        f"Optuna {version('optuna')} has other tables than Frostline knows: {what}. Install the tested version: "
        f"pip install optuna=={TESTED_OPTUNA}"
    )
