"""Rows of trials in Optuna's tables: made, read in few queries, changed together in one transaction.

Optuna's own storage takes a transaction for every parameter, report and attribute.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session, selectinload

# Optuna's tables of what belongs to a trial, with the column that tells rows of a trial apart.
_TABLES: dict[str, tuple[Any, Any]] = {
    "values": (models.TrialValueModel, models.TrialValueModel.objective),
    "params": (models.TrialParamModel, models.TrialParamModel.param_name),
    "steps": (models.TrialIntermediateValueModel, models.TrialIntermediateValueModel.step),
    "user_attrs": (models.TrialUserAttributeModel, models.TrialUserAttributeModel.key),
    "system_attrs": (models.TrialSystemAttributeModel, models.TrialSystemAttributeModel.key),
}
_RELATIONS = ("params", "values", "user_attributes", "system_attributes", "intermediate_values")
# The session holds no objects that a statement could change.
_BULK = {"synchronize_session": False}


class PendingRows:
    """What is known of trials and not written yet."""

    def __init__(self) -> None:
        # Rows by table, trial and key; and what changes of trials' own rows.
        self._rows: dict[str, dict[tuple[int, Any], dict[str, Any]]] = {name: {} for name in _TABLES}
        self._states: dict[int, dict[str, Any]] = {}

    def add(self, table: str, trial_id: int, key: Any, row: dict[str, Any]) -> None:
        """A row of a trial in a table, in place of one of the same key."""
        self._rows[table][trial_id, key] = row

    def change(self, trial_id: int, state: TrialState, times: dict[str, datetime]) -> None:
        """Another state of a trial, with when it began or ended."""
        self._states[trial_id] = {"state": state, **times}

    @property
    def trials(self) -> set[int]:
        """Ids of the trials that something is known of."""
        return {*self._states, *(trial_id for rows in self._rows.values() for trial_id, _ in rows)}

    def ends(self, trial_id: int) -> bool:
        """Whether a trial is complete, pruned or failed."""
        return trial_id in self._states and self._states[trial_id]["state"].is_finished()

    def reports(self, trial_id: int) -> bool:
        """Whether a trial has finished an epoch."""
        return any(owner == trial_id for owner, _ in self._rows["steps"])

    def write(self, session: Session, but: Collection[int]) -> None:
        """Everything, in few statements, but what is about some trials; nothing is forgotten."""
        for name, (table, column) in _TABLES.items():
            rows = {key: row for key, row in self._rows[name].items() if key[0] not in but}
            for trial_id in {trial_id for trial_id, _ in rows}:
                keys = [key for owner, key in rows if owner == trial_id]
                session.execute(
                    delete(table).where(table.trial_id == trial_id, column.in_(keys)), execution_options=_BULK
                )
            if rows:
                session.execute(insert(table), [{"trial_id": owner, **row} for (owner, _), row in rows.items()])
        for trial_id, changes in self._states.items():
            if trial_id not in but:
                set_state(session, trial_id, **changes)

    def forget(self, trial_id: int) -> None:
        """What is known of one trial."""
        self._states.pop(trial_id, None)
        for rows in self._rows.values():
            for key in [key for key in rows if key[0] == trial_id]:
                del rows[key]

    def clear(self) -> None:
        self._states.clear()
        for rows in self._rows.values():
            rows.clear()


def set_state(session: Session, trial_id: int, **changes: Any) -> None:
    """Change a trial's own row."""
    session.execute(
        update(models.TrialModel).where(models.TrialModel.trial_id == trial_id).values(changes), execution_options=_BULK
    )


def start_trials(session: Session, study_id: int, numbers: Collection[int]) -> list[int]:
    """Let the trials of some numbers that are there run; returns their ids."""
    query = select(models.TrialModel).where(
        models.TrialModel.study_id == study_id, models.TrialModel.number.in_(numbers)
    )
    # Optuna's columns are typed for classes, not for rows.
    found: list[Any] = list(session.scalars(query))
    for row in found:
        if row.state != TrialState.RUNNING or row.datetime_start is None:
            row.state, row.datetime_start = TrialState.RUNNING, datetime.now()
    session.flush()
    return [row.trial_id for row in found]


def make_trial(session: Session, study_id: int, number: int) -> FrozenTrial:
    """A new trial, which runs."""
    started = datetime.now()
    row: Any = models.TrialModel(study_id=study_id, number=number, state=TrialState.RUNNING, datetime_start=started)
    session.add(row)
    session.flush()
    return FrozenTrial(
        number=number,
        trial_id=row.trial_id,
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
    session: Session, backend: RDBStorage, study_id: int, first: int, but: Collection[int]
) -> list[FrozenTrial]:
    """Trials from a number on, but some (by id), in the order of their numbers."""
    query = select(models.TrialModel).where(
        models.TrialModel.study_id == study_id,
        models.TrialModel.number >= first,
        models.TrialModel.trial_id.not_in(but),
    )
    loaded = (selectinload(getattr(models.TrialModel, name)) for name in _RELATIONS)
    found = session.scalars(query.options(*loaded).order_by(models.TrialModel.number))
    return [backend._build_frozen_trial_from_trial_model(trial) for trial in found]
