"""The trials of a study for readers, straight from rows: without Optuna's objects, and what has ended is read once."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic_core import from_json
from sqlalchemy.orm import Session

from ..records import FINISHED
from .optuna_rows import local_time, read_parts, read_trial_rows

# The states of Optuna's trials in the words of records.
STATE_WORDS = {
    "WAITING": "waiting",
    "RUNNING": "running",
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
}
# How Optuna marks numbers, and those that databases do not take.
_FINITE = "FINITE"
_NUMBERS = {"INF_POS": math.inf, "INF_NEG": -math.inf, "NAN": math.nan}


@dataclass
class TrialRow:
    """What a reader needs of a trial.

    Attributes:
        number: Number of the trial.
        state: State, as records have it; whether a worker runs it is not asked.
        value: Score; None without one.
        ended: Local time of its end.
        strategy: Name of the strategy.
        steps: Reported scores by epoch.
        attributes: User attributes.
    """

    number: int
    state: str
    ended: datetime | None
    value: float | None = None
    strategy: str | None = None
    steps: dict[int, float] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)


class TrialReader:
    """Reads the trials of a study again and again; those that have ended are kept.

    Args:
        study_id: Optuna's id of the study.
        parameter: Name of the parameter that says the strategy.
    """

    def __init__(self, study_id: int, parameter: str) -> None:
        self._study_id = study_id
        self._parameter = parameter
        self._ended: dict[int, TrialRow] = {}

    def read(self, session: Session) -> list[TrialRow]:
        """Return all trials by number."""
        every = read_trial_rows(session, self._study_id)
        first = next((row.number for row in every if row.trial_id not in self._ended), None)
        new = {} if first is None else self._read_new(session, every, first)
        self._ended |= {trial_id: row for trial_id, row in new.items() if row.state in FINISHED}
        return [new.get(row.trial_id) or self._ended[row.trial_id] for row in every]

    def _read_new(self, session: Session, every: Sequence[Any], first: int) -> dict[int, TrialRow]:
        """Return the rows of the trials that are not kept, by id."""
        new = {
            row.trial_id: TrialRow(row.number, STATE_WORDS[row.state], local_time(row.datetime_complete))
            for row in every
            if row.trial_id not in self._ended
        }
        for trial_id, value, kind in read_parts(session, self._study_id, first, "values"):
            if (row := new.get(trial_id)) is not None:
                row.value = _number(value, kind)
        for trial_id, step, value, kind in read_parts(session, self._study_id, first, "steps"):
            if (row := new.get(trial_id)) is not None:
                row.steps[step] = value if kind == _FINITE else _number(value, kind)
        for trial_id, key, text in read_parts(session, self._study_id, first, "user_attrs"):
            if (row := new.get(trial_id)) is not None:
                row.attributes[key] = _decode(text)
        choices: dict[str, list[Any]] = {}
        for trial_id, place, text in read_parts(session, self._study_id, first, "params", self._parameter):
            if text not in choices:
                choices[text] = _decode(text)["attributes"]["choices"]
            if (row := new.get(trial_id)) is not None:
                row.strategy = choices[text][int(place)]
        return new


def _decode(text: str) -> Any:
    """Return the value of a JSON text: in a third of the time that ``json`` takes."""
    try:
        return from_json(text)
    except ValueError:
        # It refuses halves of surrogate pairs, with which Python writes bytes of a file's name that are no UTF-8.
        return json.loads(text)


def _number(value: float | None, kind: str) -> float:
    return _NUMBERS.get(kind, math.nan if value is None else value)
