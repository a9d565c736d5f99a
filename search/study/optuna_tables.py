"""Optuna's tables of trials: creating, reading and changing rows in few statements.

Optuna's own storage needs a transaction for every parameter, report and attribute. The tables are private to Optuna,
so only this module and those of its readers (:mod:`.optuna_rows`)
know them, and a version of Optuna with other tables is refused (:mod:`.optuna_schema`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from .optuna_rows import local_time
from .optuna_schema import known_tables

# Optuna's tables without its mapped classes, with which a statement costs several times as much.
_OPTUNA = known_tables(models.BaseModel.metadata.tables, models.SCHEMA_VERSION)
_TRIALS = _OPTUNA["trials"]
# The tables of a trial's parts, with the column that identifies a row within a trial.
_TABLES: dict[str, tuple[Any, str]] = {
    "values": (_OPTUNA["trial_values"], "objective"),
    "params": (_OPTUNA["trial_params"], "param_name"),
    "steps": (_OPTUNA["trial_intermediate_values"], "step"),
    "user_attrs": (_OPTUNA["trial_user_attributes"], "key"),
    "system_attrs": (_OPTUNA["trial_system_attributes"], "key"),
}
# Number of trials whose rows one statement reads.
_AT_ONCE = 500


class PendingChanges:
    """Changes of one trial that are not written yet: rows of its parts, and its state."""

    def __init__(self) -> None:
        # Rows by table and key, and the keys whose rows are in the database with older values.
        self._rows: dict[str, dict[Any, dict[str, Any]]] = {name: {} for name in _TABLES}
        self._known: dict[str, set[Any]] = {name: set() for name in _TABLES}
        self._state: dict[str, Any] = {}

    def add(self, table: str, key: Any, row: dict[str, Any], *, known: bool) -> None:
        """Add a row; it replaces a row of the same key.

        Args:
            table: Short name of the table.
            key: Key of the row within the trial.
            row: Values by column.
            known: Whether the database has a row of this key."""
        if known and key not in self._rows[table]:
            self._known[table].add(key)
        self._rows[table][key] = row

    def add_value(self, objective: int, value: float) -> None:
        """Add the score of a trial that ends."""
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        row = {"objective": objective, "value": stored, "value_type": kind}
        self.add("values", objective, row, known=False)

    def add_param(self, name: str, internal: float, distribution: BaseDistribution, *, known: bool) -> None:
        """Add a parameter in Optuna's internal representation."""
        text = distribution_to_json(distribution)
        row = {"param_name": name, "param_value": internal, "distribution_json": text}
        self.add("params", name, row, known=known)

    def add_step(self, step: int, value: float, *, known: bool) -> None:
        """Add the report of a trial after an epoch."""
        stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(value)
        row = {"step": step, "intermediate_value": stored, "intermediate_value_type": kind}
        self.add("steps", step, row, known=known)

    def change(self, state: TrialState, times: dict[str, datetime]) -> None:
        """Change the state of the trial, with its start or end time."""
        self._state = {"state": state, **times}

    def __bool__(self) -> bool:
        return bool(self._state) or any(self._rows.values())

    @property
    def ends(self) -> bool:
        """Return whether a pending state ends the trial."""
        return bool(self._state) and self._state["state"].is_finished()

    @property
    def reports(self) -> bool:
        """Return whether a report of an epoch is pending."""
        return bool(self._rows["steps"])


def write_changes(session: Session, changes: Mapping[int, PendingChanges], again: Container[int]) -> None:
    """Write the changes of trials in few statements.

    Args:
        session: Transaction.
        changes: Changes by id of the trial.
        again: Ids of the trials whose rows an earlier attempt may have written.
    """
    for name, (table, column) in _TABLES.items():
        for trial_id, change in changes.items():
            rows = change._rows[name]
            if there := [key for key in rows if trial_id in again or key in change._known[name]]:
                session.execute(delete(table).where(table.c.trial_id == trial_id, table.c[column].in_(there)))
        if every := [
            {"trial_id": trial_id, **row} for trial_id, change in changes.items() for row in change._rows[name].values()
        ]:
            session.execute(insert(table), every)
    for trial_id, change in changes.items():
        if change._state:
            set_state(session, trial_id, **change._state)


def set_state(session: Session, trial_id: int, **changes: Any) -> None:
    """Change the row of a trial."""
    stored = {name: _utc(value) if isinstance(value, datetime) else value for name, value in changes.items()}
    session.execute(update(_TRIALS).where(_TRIALS.c.trial_id == trial_id).values(stored))


def read_states(session: Session, study_id: int) -> list[Any]:
    """Return rows (trial_id, number, state) of a study's trials, by number, then by id."""
    columns = _TRIALS.c.trial_id, _TRIALS.c.number, _TRIALS.c.state
    return list(session.execute(select(*columns).where(_TRIALS.c.study_id == study_id).order_by(*columns[1::-1])))


def remove_trial(session: Session, trial_id: int) -> None:
    """Remove a trial with all its rows, which Optuna's relations cascade to."""
    session.delete(session.get_one(models.TrialModel, trial_id))


def _utc(local: datetime) -> datetime:
    """Return a time as Optuna stores it."""
    return local.astimezone(UTC).replace(tzinfo=None)


def start_trials(session: Session, study_id: int, numbers: Collection[int]) -> list[int]:
    """Set the existing trials of these numbers to running; return their ids."""
    found = session.execute(
        select(_TRIALS.c.trial_id, _TRIALS.c.state, _TRIALS.c.datetime_start).where(
            _TRIALS.c.study_id == study_id, _TRIALS.c.number.in_(numbers)
        )
    ).all()
    for row in found:
        if row.state != TrialState.RUNNING or row.datetime_start is None:
            set_state(session, row.trial_id, state=TrialState.RUNNING, datetime_start=datetime.now())
    return [row.trial_id for row in found]


def make_trial(session: Session, study_id: int, number: int) -> FrozenTrial:
    """Create a running trial."""
    started = datetime.now()
    row = {"study_id": study_id, "number": number, "state": TrialState.RUNNING, "datetime_start": _utc(started)}
    made: Any = session.execute(insert(_TRIALS), row)
    return FrozenTrial(
        number=number,
        trial_id=made.inserted_primary_key[0],
        state=TrialState.RUNNING,
        value=None,
        datetime_start=started,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


def read_trials(
    session: Session, study_id: int, first: int, but: Collection[int], under_way: Container[int] = ()
) -> list[FrozenTrial]:
    """Return trials by number, as Optuna's storage builds them, without one object per row.

    Args:
        session: Transaction.
        study_id: Id of the study.
        first: Lowest number to read.
        but: Ids of trials to leave out.
        under_way: Ids of trials to leave out while they run.
    """
    columns = _TRIALS.c
    query = (
        select(_TRIALS)
        .where(columns.study_id == study_id, columns.number >= first, columns.trial_id.not_in(but))
        .order_by(columns.number)
    )
    every = session.execute(query).all()
    found = [row for row in every if row.state != TrialState.RUNNING or row.trial_id not in under_way]
    ids = [row.trial_id for row in found]
    rows = [_read_rows(session, ids[place : place + _AT_ONCE]) for place in range(0, len(ids), _AT_ONCE)]
    known = {name: {owner: of for part in rows for owner, of in part[name].items()} for name in _TABLES}
    return [_build(row, {name: of.get(row.trial_id, []) for name, of in known.items()}) for row in found]


def _read_rows(session: Session, trial_ids: list[int]) -> dict[str, dict[int, list[Any]]]:
    """Return the rows by table and trial, in the order in which they were written."""
    read: dict[str, dict[int, list[Any]]] = {}
    for name, (table, _) in _TABLES.items():
        of: dict[int, list[Any]] = {}
        for row in session.execute(select(table).where(table.c.trial_id.in_(trial_ids)).order_by(*table.primary_key)):
            of.setdefault(row.trial_id, []).append(row)
        read[name] = of
    return read


def _build(trial: Any, rows: dict[str, list[Any]]) -> FrozenTrial:
    distributions = {row.param_name: _distribution(row.distribution_json) for row in rows["params"]}
    stored, step = models.TrialValueModel, models.TrialIntermediateValueModel
    values = {row.objective: stored.stored_repr_to_value(row.value, row.value_type) for row in rows["values"]}
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.trial_id,
        state=trial.state,
        value=None,
        values=[values[objective] for objective in sorted(values)] or None,
        datetime_start=local_time(trial.datetime_start),
        datetime_complete=local_time(trial.datetime_complete),
        params={
            row.param_name: distributions[row.param_name].to_external_repr(row.param_value) for row in rows["params"]
        },
        distributions=distributions,
        user_attrs={row.key: json.loads(row.value_json) for row in rows["user_attrs"]},
        system_attrs={row.key: json.loads(row.value_json) for row in rows["system_attrs"]},
        intermediate_values={
            row.step: step.stored_repr_to_intermediate_value(row.intermediate_value, row.intermediate_value_type)
            for row in rows["steps"]
        },
    )


# Every trial has the distributions of the space, which are immutable.
_distribution = lru_cache(maxsize=4096)(json_to_distribution)
