"""The trials of a study that this process holds: read from memory, written together."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import StudyDirection
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import delete, insert, update

from ..storage.database import Database

# How old what others see of a trial under way may be, looked at when it reports.
SECONDS_BEHIND = 1.0
# Optuna's tables of what belongs to a trial, with the column that tells rows of a trial apart.
_TABLES: dict[str, tuple[Any, Any]] = {
    "values": (models.TrialValueModel, models.TrialValueModel.objective),
    "params": (models.TrialParamModel, models.TrialParamModel.param_name),
    "steps": (models.TrialIntermediateValueModel, models.TrialIntermediateValueModel.step),
    "user_attrs": (models.TrialUserAttributeModel, models.TrialUserAttributeModel.key),
    "system_attrs": (models.TrialSystemAttributeModel, models.TrialSystemAttributeModel.key),
}
# The session holds no objects that a statement could change.
_BULK = {"synchronize_session": False}


class HeldStorage(BaseStorage):
    """Optuna's storage for the one process that works on a study.

    A transaction costs about as much as an epoch of a small head, and a trial makes some seventy; nobody else changes
    the trials meanwhile. So they are kept here, and what a trial notes is written in one transaction: when its state
    changes, when it reports after a second, and when :meth:`flush` is called. What is decided depends on what is kept
    here, never on when it is written.

    Args:
        backend: Optuna's storage of the database.
        study_id: The study's in it; it is held exclusively while this is used.
        database: The same one.
    """

    def __init__(self, backend: RDBStorage, study_id: int, database: Database) -> None:
        self._backend = backend
        self._database = database
        self._trials = {trial._trial_id: trial for trial in backend.get_all_trials(study_id, deepcopy=False)}
        # Rows by table, trial and key, not written yet; and what changes of trials' own rows.
        self._rows: dict[str, dict[tuple[int, Any], dict[str, Any]]] = {name: {} for name in _TABLES}
        self._states: dict[int, dict[str, Any]] = {}
        self._flushed = time.monotonic()
        self._gathers = False

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write nothing while within, and then everything, in one transaction."""
        self._gathers = True
        try:
            yield
        finally:
            self._gathers = False
        self.flush()

    def flush(self) -> None:
        """Write what is not written yet, in one transaction.

        Raises:
            UnreachableError: The database cannot be written; nothing of it was, and it can be tried again.
        """
        if self._gathers:
            return
        self._flushed = time.monotonic()
        if not self._states and not any(self._rows.values()):
            return
        with self._database.session() as session:
            for name, (table, column) in _TABLES.items():
                rows = self._rows[name]
                for trial_id in {trial_id for trial_id, _ in rows}:
                    keys = [key for owner, key in rows if owner == trial_id]
                    session.execute(
                        delete(table).where(table.trial_id == trial_id, column.in_(keys)), execution_options=_BULK
                    )
                if rows:
                    session.execute(insert(table), [{"trial_id": owner, **row} for (owner, _), row in rows.items()])
            for trial_id, changes in self._states.items():
                session.execute(
                    update(models.TrialModel).where(models.TrialModel.trial_id == trial_id).values(changes),
                    execution_options=_BULK,
                )
        self._states.clear()
        for rows in self._rows.values():
            rows.clear()

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        self.flush()
        trial = self._backend._create_new_trial(study_id, template_trial)
        self._trials[trial._trial_id] = trial
        return trial._trial_id

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        trial = self._changed(trial_id)
        if state == TrialState.RUNNING and trial.state != TrialState.WAITING:
            return False
        changes: dict[str, Any] = {"state": state}
        if state == TrialState.RUNNING:
            changes["datetime_start"] = trial.datetime_start = datetime.now()
        if state.is_finished():
            changes["datetime_complete"] = trial.datetime_complete = datetime.now()
        trial.state = state
        self._states[trial_id] = changes
        if values is not None:
            trial.values = list(values)
            for objective, value in enumerate(values):
                stored, kind = models.TrialValueModel.value_to_stored_repr(value)
                row = {"objective": objective, "value": stored, "value_type": kind}
                self._rows["values"][trial_id, objective] = row
        self.flush()
        return True

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        trial = self._changed(trial_id)
        trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
        trial.distributions = {**trial.distributions, param_name: distribution}
        self._rows["params"][trial_id, param_name] = {
            "param_name": param_name,
            "param_value": param_value_internal,
            "distribution_json": distribution_to_json(distribution),
        }

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        trial = self._changed(trial_id)
        trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}
        stored, kind = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr(intermediate_value)
        self._rows["steps"][trial_id, step] = {
            "step": step,
            "intermediate_value": stored,
            "intermediate_value_type": kind,
        }
        if time.monotonic() - self._flushed > SECONDS_BEHIND:
            self.flush()

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._changed(trial_id)
        text = json.dumps(value)
        trial.user_attrs = {**trial.user_attrs, key: json.loads(text)}
        self._rows["user_attrs"][trial_id, key] = {"key": key, "value_json": text}

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._changed(trial_id)
        text = json.dumps(value)
        trial.system_attrs = {**trial.system_attrs, key: json.loads(text)}
        self._rows["system_attrs"][trial_id, key] = {"key": key, "value_json": text}

    def get_trial(self, trial_id: int) -> FrozenTrial:
        # Optuna's trials note in theirs what they write here.
        trial = copy.copy(self._trials[trial_id])
        for name in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
            setattr(trial, name, dict(getattr(trial, name)))
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._trials.values() if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _changed(self, trial_id: int) -> FrozenTrial:
        """A trial to be changed: who read it before keeps what was read."""
        self.check_trial_is_updatable(trial_id, self._trials[trial_id].state)
        trial = self._trials[trial_id] = copy.copy(self._trials[trial_id])
        return trial

    # What concerns studies is rare, and goes to the database.

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._backend.create_new_study(directions, study_name)

    def delete_study(self, study_id: int) -> None:
        self._backend.delete_study(study_id)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        return self._backend.get_all_studies()
