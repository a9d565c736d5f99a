"""Rows of Optuna's tables for readers, without Optuna, which takes longer to load than a study to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.orm import Session

from .optuna_schema import TABLES

# The tables of a trial's parts, with what readers need of each.
_PARTS = {
    "values": ("trial_values", "value", "value_type"),
    "params": ("trial_params", "param_value", "distribution_json"),
    "steps": ("trial_intermediate_values", "step", "intermediate_value", "intermediate_value_type"),
    "user_attrs": ("trial_user_attributes", "key", "value_json"),
}


def read_studies(connection: Connection) -> dict[str, int]:
    """Return the ids of all studies by name, the latest last."""
    studies = TABLES["studies"].c
    rows = connection.execute(select(studies.study_name, studies.study_id).order_by(studies.study_id))
    return {row.study_name: row.study_id for row in rows}


def read_study_attributes(session: Session, study_id: int) -> dict[str, Any]:
    """Return the user attributes of a study."""
    attributes = TABLES["study_user_attributes"].c
    rows = session.execute(select(attributes.key, attributes.value_json).where(attributes.study_id == study_id))
    return {row.key: json.loads(row.value_json) for row in rows}


def read_trial_rows(session: Session, study_id: int) -> Sequence[Any]:
    """Return rows (trial_id, number, state, datetime_complete) of a study's trials, by number."""
    trials = TABLES["trials"].c
    columns = trials.trial_id, trials.number, trials.state, trials.datetime_complete
    return session.execute(select(*columns).where(trials.study_id == study_id).order_by(*columns[1::-1])).all()


def read_parts(session: Session, study_id: int, first: int, part: str, name: str | None = None) -> Sequence[Any]:
    """Return the values of one part of the trials from a number on, trial_id first, in any order.

    Args:
        session: Transaction.
        study_id: Id of the study.
        first: Lowest number.
        part: ``values``, ``steps``, ``user_attrs`` or ``params``.
        name: Name of the parameter, for ``params``.
    """
    of, *columns = _PARTS[part]
    values, trials = TABLES[of], TABLES["trials"]
    query = select(values.c.trial_id, *(values.c[each] for each in columns))
    query = query.join(trials, trials.c.trial_id == values.c.trial_id)
    query = query.where(trials.c.study_id == study_id, trials.c.number >= first)
    if name is not None:
        query = query.where(values.c.param_name == name)
    return session.connection().execute(query).all()


def local_time(stored: datetime | None) -> datetime | None:
    """Return a stored time as Optuna's objects have it."""
    # Clocks change at full quarters of an hour: asking the system for each of thousands of times takes long.
    return stored and stored + _offset(stored.replace(minute=stored.minute // 15 * 15, second=0, microsecond=0))


@lru_cache(maxsize=4096)
def _offset(stored: datetime) -> timedelta:
    """Return how far local time is ahead of UTC."""
    return stored.replace(tzinfo=UTC).astimezone().utcoffset() or timedelta(0)
