"""The trials of a study as one of its workers holds them: read from memory, written together, each under its lease."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Container, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.orm import Session

from ...storage.database import Database, Lease, LeaseKeeper, Tickets, release
from ...storage.errors import LeaseLostError
from ...storage.timing import Timing
from ..study import make_trial, read_trials, set_state, start_trials, write_changes
from .held_trial import HeldTrial
from .known_trials import KnownTrials

if TYPE_CHECKING:
    from optuna.study._frozen import FrozenStudy


class LeasedStorage(BaseStorage):
    """Optuna's storage as a worker of a study sees it.

    A transaction costs about as much as an epoch of a small head, and a trial would make some seventy. Only its worker
    changes a running trial, so changes are collected in memory and written together.

    **Guarantees:**

    - At most one worker runs a trial at a time. Trial ``n`` belongs to ticket ``n`` and can only be claimed, so budget
      and numbers are exact with any number of workers (contract C5).
    - Changes are written in one transaction, together with the proof of the leases: when a trial changes its state,
      when it reports about a second after the last write, and on :meth:`flush`. A trial that ends is written completely
      and its ticket is marked done, or neither.
    - A kill loses the changes since the last write. The trial's lease expires, and another worker can claim the trial.
    - After another worker has claimed a trial, nothing more of this worker's changes to it is written; the write raises
      :class:`LeaseLostError` if it was for that trial or for all, and changes to other trials are still committed.
    - Reads come from memory. A worker's own trials are up to date. Other workers' trials are as old as the last
      :meth:`claim` or :meth:`refresh`, and what a running one reports is read only when it has ended.
    - :meth:`claim` commits the lease and the state RUNNING together.
    - An instance is used by one thread.

    Args:
        backend: Optuna's storage of the database.
        study_id: Optuna's id of the study.
        tickets: Tickets of the study's trials.
        keeper: LeaseKeeper of this worker's leases.
        database: The same database, for transactions of our own.
        timing: How soon reports are written.
    """

    def __init__(
        self,
        backend: RDBStorage,
        study_id: int,
        tickets: Tickets,
        keeper: LeaseKeeper,
        database: Database,
        timing: Timing,
    ) -> None:
        self._backend = backend
        self._study_id = study_id
        self._tickets = tickets
        self._keeper = keeper
        self._database = database
        self._timing = timing
        self._trials = KnownTrials()
        self._held: dict[int, HeldTrial] = {}
        self._distributions: dict[BaseDistribution, BaseDistribution] = {}
        self._flushed = time.monotonic()
        self._gathers = False
        self.refresh()

    def claim(self, limit: int = 1, budget: float | None = None) -> list[tuple[int, Lease]]:
        """Claim at most so many trials that nobody works on: cut off ones first, then new ones within a budget.

        Returns:
            Ids of the trials, each with its lease; the trials are RUNNING now. Empty if none is free.
        """
        asked = self._keeper.now()
        leases, read = self._database.run_with_retry(lambda session: self._claim(session, limit, budget))
        self._keeper.add(leases.values(), asked)
        self._held |= {trial_id: HeldTrial(lease) for trial_id, lease in leases.items()}
        self._trials.take(read)
        return list(leases.items())

    def _claim(self, session: Session, limit: int, budget: float | None) -> tuple[dict[int, Lease], list[FrozenTrial]]:
        """Leases by the ids of their trials, which are made where there are none yet; and all that is new."""
        leases = self._tickets.claim(session, self._keeper.owner, self._keeper.seconds, limit, budget)
        if not leases:
            return {}, []
        numbers = {lease.number: lease for lease in leases}
        there = start_trials(session, self._study_id, numbers)
        read = self._read(session, set(there))
        known = {trial.number for trial in read}
        made = [make_trial(session, self._study_id, number) for number in sorted(numbers.keys() - known)]
        new = [*read, *made]
        return {trial._trial_id: numbers[trial.number] for trial in new if trial.number in numbers}, new

    def release(self) -> None:
        """Let other workers have this one's trials, from where they were written last.

        Raises:
            UnreachableError: The database cannot be told; the leases lapse by themselves.
        """
        released, self._held = self._held, {}
        for held in released.values():
            self._keeper.forget(held.lease)

        def work(session: Session) -> None:
            for trial_id, held in released.items():
                if release(session, held.lease, held.used_seconds):
                    set_state(session, trial_id, state=TrialState.WAITING)

        self._database.run_with_retry(work, patience=0.0)

    def refresh(self) -> None:
        """Read what other workers did since the last time."""
        self._trials.take(self._database.run_with_retry(self._read))

    def _read(self, session: Session, taken: Set[int] = frozenset()) -> list[FrozenTrial]:
        """Trials as they are in the database: those that are new here, and others' that began or ended meanwhile.

        Args:
            session: The transaction.
            taken: This worker's trials of which it does not know what others did.
        """
        unread = self._trials.unread(self._held.keys() - taken, taken)
        return read_trials(session, self._study_id, unread.first, unread.but, unread.under_way)

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
            LeaseLostError: A trial is another worker's now; what this one knew of it is dropped, the rest is written.
            UnreachableError: The database cannot be written; it can be tried again, whether it was or not.
        """
        if self._gathers:
            return
        self._flushed = time.monotonic()
        # In one order for all workers: two that lock the same tickets crosswise would wait for each other.
        touched = {trial_id: held for trial_id, held in sorted(self._held.items()) if held.changed}
        if not touched:
            return
        again = {trial_id for trial_id, held in touched.items() if held.unsure}

        def work(session: Session) -> set[int]:
            before = frozenset(again)
            again.update(touched)
            return self._write(session, touched, before)

        for held in touched.values():
            held.unsure = True
        lost = self._database.run_with_retry(work)
        for trial_id, held in touched.items():
            if trial_id in lost or held.pending.ends:
                self._keeper.forget(self._held.pop(trial_id).lease)
            held.written()
        for trial_id in lost:
            # However it ended here: it is read when it ends where it is now, or comes back.
            trial = copy.copy(self._trials[trial_id])
            trial.state, trial.values, trial.datetime_complete = TrialState.RUNNING, None, None
            self._trials.put(trial)
        if lost:
            raise LeaseLostError([self._trials[trial_id].number for trial_id in lost])

    def _flush_for(self, trial_id: int) -> None:
        """Flush because of one trial; a trial that was lost beside it raises at its own next change."""
        try:
            self.flush()
        except LeaseLostError as error:
            # Not its lease: that has ended with the trial, if this ended it.
            if self._trials[trial_id].number in error.numbers:
                raise

    def _write(self, session: Session, touched: Mapping[int, HeldTrial], again: Set[int]) -> set[int]:
        """Everything of the trials that are still ours; those that are not."""
        lost = {trial_id for trial_id, held in touched.items() if not held.prove(session, self._keeper.seconds)}
        write_changes(session, {each: held.pending for each, held in touched.items() if each not in lost}, again)
        return lost

    def spend(self, trial_id: int, seconds: float) -> None:
        """Count device seconds of a trial; they are written with its next changes."""
        if trial_id in self._held:
            self._held[trial_id].seconds += seconds

    def require(self, lease: Lease) -> None:
        """See that a lease still holds; of a trial that is another worker's now, what this one knew is dropped.

        Raises:
            LeaseLostError: It does not.
            UnreachableError: The database does not say.
        """
        try:
            self._keeper.require(lease)
        except LeaseLostError:
            self._held = {trial_id: held for trial_id, held in self._held.items() if held.lease != lease}
            raise

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        raise NotImplementedError("trials come with tickets: claim them")

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        trial = self._changed(trial_id)
        if state == TrialState.RUNNING and trial.state != TrialState.WAITING:
            return False
        times: dict[str, datetime] = {}
        if state == TrialState.RUNNING:
            times["datetime_start"] = trial.datetime_start = datetime.now()
        if state.is_finished():
            times["datetime_complete"] = trial.datetime_complete = datetime.now()
        trial.state = state
        self._trials.put(trial)
        pending = self._held[trial_id].pending
        pending.change(state, times)
        if values is not None:
            trial.values = list(values)
            for objective, value in enumerate(values):
                pending.add_value(objective, value)
        self._flush_for(trial_id)
        return True

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        trial = self._changed(trial_id)
        known = param_name in trial.params
        # One object for all trials: thousands of trials have the same.
        distribution = self._distributions.setdefault(distribution, distribution)
        trial.params = {**trial.params, param_name: distribution.to_external_repr(param_value_internal)}
        trial.distributions = {**trial.distributions, param_name: distribution}
        self._held[trial_id].pending.add_param(param_name, param_value_internal, distribution, known=known)

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        trial = self._changed(trial_id)
        known = step in trial.intermediate_values
        trial.intermediate_values = {**trial.intermediate_values, step: intermediate_value}
        held = self._held[trial_id]
        held.pending.add_step(step, intermediate_value, known=known)
        if time.monotonic() - self._flushed > (self._timing.report if held.proven else self._timing.first_report):
            self._flush_for(trial_id)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._changed(trial_id)
        text, known = json.dumps(value), key in trial.user_attrs
        trial.user_attrs = {**trial.user_attrs, key: json.loads(text)}
        self._held[trial_id].pending.add("user_attrs", key, {"key": key, "value_json": text}, known=known)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._changed(trial_id)
        text, known = json.dumps(value), key in trial.system_attrs
        trial.system_attrs = {**trial.system_attrs, key: json.loads(text)}
        self._held[trial_id].pending.add("system_attrs", key, {"key": key, "value_json": text}, known=known)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        # Optuna's trials note in theirs what they write here.
        trial = copy.copy(self._trials[trial_id])
        for name in ("params", "distributions", "user_attrs", "system_attrs", "intermediate_values"):
            setattr(trial, name, dict(getattr(trial, name)))
        return trial

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        trials = self._trials.all()
        if states is not None:
            trials = [trial for trial in trials if trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    def _changed(self, trial_id: int) -> FrozenTrial:
        """A trial to be changed: who read it before keeps what was read."""
        self.check_trial_is_updatable(trial_id, self._trials[trial_id].state)
        self.lease(trial_id)
        trial = copy.copy(self._trials[trial_id])
        self._trials.put(trial)
        return trial

    def lease(self, trial_id: int) -> Lease:
        """This worker's claim on one of its trials.

        Raises:
            LeaseLostError: The trial is another worker's now.
        """
        if trial_id not in self._held:
            raise LeaseLostError([self._trials[trial_id].number])
        return self._held[trial_id].lease

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
