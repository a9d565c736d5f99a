"""The snapshot of a study's tables, files and MLflow that the doctor's checks compare."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from ...storage.database import Ticket, describe_worker, has_ended, read_tickets
from ...storage.errors import RefusedError, StudyBusyError, UnreachableError
from ...storage.locks import exclusive
from ...storage.tracking import read_unsent
from ..records import FINISHED
from ..study import Study, read_states
from ..tracking import curve_key, ticket_key, trial_key

if TYPE_CHECKING:
    from ...storage.tracking import TrackedStudy


@dataclass(frozen=True)
class Finding:
    """An inconsistency.

    Attributes:
        what: Description of the inconsistency.
        where: Trial, final, file or run concerned.
        remedy: Description of the repair by ``--fix``, or of what the user must do.
        mend: Function that repairs it; None if only the user can.
    """

    what: str
    where: str
    remedy: str
    mend: Callable[[], None] | None = None


@dataclass(frozen=True)
class TrialRow:
    """A row of Optuna's table of trials."""

    id: int
    number: int
    state: TrialState

    @property
    def name(self) -> str:
        return f"trial {self.number}"


@dataclass(frozen=True)
class Tables:
    """The tables of a study at one moment.

    Attributes:
        trials: Optuna's trials by number, then by row.
        tickets: Tickets of the trials by number.
        final_tickets: Tickets of the finals.
        finals: Finalist and seed of the recorded finals.
    """

    trials: list[TrialRow]
    tickets: dict[int, Ticket]
    final_tickets: list[Ticket]
    finals: set[tuple[str, int]]

    @property
    def leased(self) -> list[Ticket]:
        """Return the open tickets that have an owner, running or not."""
        return [each for each in (*self.tickets.values(), *self.final_tickets) if each.owner and not each.done]


class StudySnapshot:
    """The state of a study; each part is read at its first use.

    Args:
        study: Study to examine.
        busy: Whether another process of this machine has locked the study.

    Attributes:
        away: Reason why MLflow cannot be compared; empty before the first attempt.
        remedy: What the user must do about it.
    """

    def __init__(self, study: Study, busy: bool) -> None:
        self.study = study
        self._busy = busy
        self.away, self.remedy = "", ""

    @cached_property
    def tables(self) -> Tables:
        with self.study.database.snapshot() as session:
            rows = read_states(session, self.study.optuna_id)
            trials = [TrialRow(row.trial_id, row.number, row.state) for row in rows]
            tickets = read_tickets(session, self.study.settings.name)
            finals = self.study.finals.recorded(session)
        return Tables(
            trials=trials,
            tickets={ticket.number: ticket for ticket in tickets if ticket.kind == "trial"},
            final_tickets=[ticket for ticket in tickets if ticket.kind == "final"],
            finals=finals,
        )

    @cached_property
    def active_workers(self) -> list[str]:
        """Return the running workers of the study, on all machines."""
        alive = [each for each in self.tables.leased if not is_gone(each)]
        workers = {describe_worker(each.owner): f"{each.kind} {each.number}" for each in alive if each.owner}
        here = ["another process on this machine"] if self._busy and not workers else []
        return [*here, *(f"{worker} at {what}" for worker, what in workers.items())]

    @cached_property
    def tracking_uri(self) -> str | None:
        """Return the URI of MLflow; None if MLflow is in the workspace of another machine."""
        place = self.study.workspace
        if self.study.tracking_uri is None and place.storage and not (place.root / "mlflow.db").exists():
            return None
        return self.study.tracking_uri or place.tracking_url

    @cached_property
    def tracked(self) -> TrackedStudy | None:
        """Return the runs in MLflow; None if there is a reason in :attr:`away`."""
        if self.tracking_uri is None:
            return None
        # Importing MLflow takes seconds.
        from ...storage.tracking import TrackedStudy, schema_fault

        try:
            if (fault := schema_fault(self.tracking_uri)) is None:
                return TrackedStudy(self.tracking_uri, self.study.mark)
            self.away, self.remedy = fault.what, fault.remedy
        except RefusedError as error:
            self.away, self.remedy = str(error), "restore it"
        except UnreachableError as error:
            self.away, self.remedy = str(error), "start it, or make it reachable from this machine"
        return None

    @cached_property
    def unsent(self) -> set[str]:
        """Return the keys of the runs that have records in the journal but not in MLflow."""
        unsent = read_unsent(self.study.workspace.journal(self.study.settings.name))
        return {record.key for record in [*unsent.records, *(refusal.record for refusal in unsent.refused)]}

    @cached_property
    def open_keys(self) -> set[str]:
        """Return the keys of the unfinished trials and finals."""
        trials = {trial_key(trial.number) for trial in self.study.trials() if trial.state not in FINISHED}
        subjects = [str(ticket.subject) for ticket in self.tables.final_tickets if not ticket.done]
        return trials | {ticket_key(subject) for subject in subjects}

    @cached_property
    def curve_keys(self) -> set[str]:
        """Return the keys of the finished trainings of the curve."""
        return {curve_key(*identity) for identity in self.study.curve.trained()}


def is_gone(ticket: Ticket, patience: float = 0.0) -> bool:
    """Return whether a ticket's lease expired at least ``patience`` seconds ago, or its worker has ended."""
    left = ticket.seconds_left
    return left is None or left < -patience or has_ended(str(ticket.owner))


def is_led_here(study: Study) -> bool:
    """Return whether another process of this machine has locked a study."""
    with suppress(StudyBusyError), exclusive(study.workspace, study.settings.name):
        return False
    return True
