"""What a study's tables, files and MLflow hold, each as it is: for the doctor, who compares them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from ...storage.database.leases import describe_worker, has_ended
from ...storage.database.tickets import Ticket, read_tickets
from ...storage.errors import StudyBusyError, UnreachableError
from ...storage.locks import exclusive
from ...storage.tracking.journal import read_unsent
from ..records import FINISHED
from ..study.optuna_tables import read_states
from ..study.study import Study
from ..tracking.keys import curve_key, ticket_key, trial_key

if TYPE_CHECKING:
    from ...storage.tracking.mlflow_audit import TrackedStudy


@dataclass(frozen=True)
class Finding:
    """Two places that disagree.

    Attributes:
        what: They disagree on, in a sentence.
        where: A trial, a final, a file.
        remedy: What mends it, in words: what ``--fix`` does, or what to type where it cannot.
        mend: Does it; None where only the user can.
    """

    what: str
    where: str
    remedy: str
    mend: Callable[[], None] | None = None


@dataclass(frozen=True)
class TrialRow:
    """A trial as Optuna's table has it."""

    id: int
    number: int
    state: TrialState

    @property
    def name(self) -> str:
        return f"trial {self.number}"


@dataclass(frozen=True)
class Tables:
    """Tables of a study at one moment.

    Attributes:
        trials: Optuna's, by number, then by row.
        tickets: Ours of the trials, by number.
        final_tickets: Ours of the finals.
        finals: Finalist and seed of those that are recorded.
    """

    trials: list[TrialRow]
    tickets: dict[int, Ticket]
    final_tickets: list[Ticket]
    finals: set[tuple[str, int]]

    @property
    def leased(self) -> list[Ticket]:
        """Tickets that somebody has, or had when it went away."""
        return [each for each in (*self.tickets.values(), *self.final_tickets) if each.owner and not each.done]


class Evidence:
    """What there is of a study; each part is read when it is first asked for.

    Args:
        study: The study.
        busy: Whether another process of this machine leads it.

    Attributes:
        away: Why MLflow cannot be asked, once it was.
    """

    def __init__(self, study: Study, busy: bool) -> None:
        self.study = study
        self._busy = busy
        self.away = ""

    @cached_property
    def tables(self) -> Tables:
        with self.study.database.snapshot() as session:
            rows = read_states(session, self.study.inner._study_id)
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
    def at_work(self) -> list[str]:
        """Who works on the study just now, here or elsewhere."""
        alive = [each for each in self.tables.leased if not is_gone(each)]
        workers = {describe_worker(each.owner): f"{each.kind} {each.number}" for each in alive if each.owner}
        here = ["another process on this machine"] if self._busy and not workers else []
        return [*here, *(f"{worker} at {what}" for worker, what in workers.items())]

    @cached_property
    def tracking_uri(self) -> str | None:
        """Of MLflow as seen from here; None where it is in the workspace of another machine."""
        place = self.study.workspace
        if self.study.tracking_uri is None and place.storage and not (place.root / "mlflow.db").exists():
            return None
        return self.study.tracking_uri or place.tracking_url

    @cached_property
    def tracked(self) -> TrackedStudy | None:
        """What MLflow has; None where there is none to ask, :attr:`away` says why."""
        if self.tracking_uri is None:
            return None
        # It imports MLflow, which takes seconds.
        from ...storage.tracking.mlflow_audit import TrackedStudy

        try:
            return TrackedStudy(self.tracking_uri, self.study.settings.name)
        except UnreachableError as error:
            self.away = str(error)
            return None

    @cached_property
    def unsent(self) -> set[str]:
        """Keys of runs of which this workspace's journal holds something that MLflow has not got."""
        records, _ = read_unsent(self.study.workspace.journal(self.study.settings.name))
        return {record.key for record in records}

    @cached_property
    def open_keys(self) -> set[str]:
        """Keys of trials and finals that are not finished."""
        trials = {trial_key(trial.number) for trial in self.study.trials() if trial.state not in FINISHED}
        subjects = [str(ticket.subject) for ticket in self.tables.final_tickets if not ticket.done]
        return trials | {ticket_key(subject) for subject in subjects}

    @cached_property
    def curve_keys(self) -> set[str]:
        """Keys of the curve's trainings that are finished."""
        return {curve_key(*identity) for identity in self.study.curve.trained()}


def is_gone(ticket: Ticket, patience: float = 0.0) -> bool:
    """Whether a ticket's lease has lapsed so long ago, or its worker is known to have ended."""
    left = ticket.seconds_left
    return left is None or left < -patience or has_ended(str(ticket.owner))


def is_led_here(study: Study) -> bool:
    """Whether a process of this machine leads a study just now."""
    with suppress(StudyBusyError), exclusive(study.workspace, study.settings.name):
        return False
    return True
