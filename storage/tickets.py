"""Tickets: what a study has to do, each piece done once, however many workers there are and however they end.

A ticket is leased to a worker for a time, and the worker renews its lease while it lives. One that lapsed goes to the
next worker that asks. Each leasing raises the ticket's token (a fencing token: Kleppmann 2016, "How to do distributed
locking"): who writes shows the token in the same transaction, so that a worker that was thought dead and comes back
writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from .database import Database, now_seconds
from .errors import UnreachableError
from .ticket_table import LEASING, TICKETS, TicketRow, showing

# How often issuing may meet another process that issues.
ISSUERS = 20


@dataclass(frozen=True)
class Lease:
    """A worker's claim on a ticket.

    Attributes:
        ticket: Row of the ticket.
        number: Of the ticket within its kind.
        subject: What it is about, where the number does not say it.
        owner: The worker.
        token: Grows with every leasing of this ticket.
        lapses: How many workers went away without a word while they had it.
    """

    ticket: int
    number: int
    subject: str | None
    owner: str
    token: int
    lapses: int


@dataclass(frozen=True)
class Held:
    """A ticket that somebody has: for readers.

    Attributes:
        number: Of the ticket.
        owner: The worker.
        seconds_left: Until the lease lapses; negative when it has.
        lapses: See :class:`Lease`.
        subject: See :class:`Lease`.
    """

    number: int
    owner: str
    seconds_left: float
    lapses: int
    subject: str | None = None


@dataclass(frozen=True)
class Ticket:
    """A ticket as it stands: for who compares it with other things.

    Attributes:
        id: Its row.
        kind: ``trial`` or ``final``.
        number: Within its kind.
        subject: What it is about, where the number does not say it.
        done: Whether it has nothing left to do.
        owner: The worker that has it, or had it when it went away.
        seconds_left: Until the lease lapses; negative when it has; None where there is none.
    """

    id: int
    kind: str
    number: int
    subject: str | None
    done: bool
    owner: str | None
    seconds_left: float | None


class Tickets:
    """The tickets of one kind of one study.

    Args:
        database: Where they are.
        study: Name of the study.
        kind: ``trial`` or ``final``.
    """

    def __init__(self, database: Database, study: str, kind: str) -> None:
        self._database = database
        self._study = study
        self._kind = kind
        self._mine = and_(TICKETS.c.study == study, TICKETS.c.kind == kind)
        row = TICKETS.c
        self._open = (
            select(row.id, row.number, row.subject, row.token, row.owner, row.lapses)
            .where(self._mine, row.done.is_(False), or_(row.owner.is_(None), row.expires < now_seconds()))
            .order_by(row.number)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
        )

    def issue(self, count: int, done: Collection[int] = ()) -> None:
        """See to it that there are tickets 0..count-1; those that are there stay as they are.

        Args:
            count: How many there shall be.
            done: Numbers of new ones that have nothing left to do.
        """

        def missing(there: Sequence[TicketRow]) -> list[dict[str, Any]]:
            numbers = {row.number for row in there}
            return [{"number": number, "done": number in done} for number in range(count) if number not in numbers]

        self._issue(missing)

    def issue_for(self, subjects: Sequence[str]) -> None:
        """See to it that there is a ticket about each subject, in this order after those that are there."""

        def missing(there: Sequence[TicketRow]) -> list[dict[str, Any]]:
            known = {row.subject for row in there}
            new = [subject for subject in subjects if subject not in known]
            first = 1 + max((row.number for row in there), default=-1)
            return [{"number": number, "done": False, "subject": name} for number, name in enumerate(new, first)]

        self._issue(missing)

    def _issue(self, missing: Callable[[Sequence[TicketRow]], list[dict[str, Any]]]) -> None:
        shared = {"study": self._study, "kind": self._kind, "token": 0, "lapses": 0, "subject": None}

        def work(session: Session) -> None:
            if rows := missing(session.scalars(select(TicketRow).where(self._mine)).all()):
                session.execute(insert(TicketRow), [{**shared, **row} for row in rows])

        for _ in range(ISSUERS):
            try:
                return self._database.patiently(work)
            except UnreachableError as error:
                if not isinstance(error.__cause__, IntegrityError):
                    raise
                # Another process issued some meanwhile.
        return self._database.patiently(work)

    def claim(self, session: Session, owner: str, seconds: float, limit: int = 1) -> list[Lease]:
        """Lease open tickets, the lowest numbers first; what lapsed comes before what nobody had.

        Args:
            session: The transaction in which what belongs to a claim is written.
            owner: The worker; no other may call itself so.
            seconds: How long the leases last unless they are renewed.
            limit: How many at most.
        """
        rows = session.execute(self._open, {"most": limit}).all()
        leases = [
            Lease(row.id, row.number, row.subject, owner, row.token + 1, row.lapses + (row.owner is not None))
            for row in rows
        ]
        if leases:
            tickets = [lease.ticket for lease in leases]
            session.execute(LEASING, {"tickets": tickets, "worker": owner, "seconds": seconds})
        return leases

    def exhausted(self) -> bool:
        """Whether all tickets are done, by whomever."""
        issued, done = self.counts()
        return done >= issued

    def counts(self) -> tuple[int, int]:
        """How many tickets there are, and how many of them are done."""

        def work(session: Session) -> tuple[int, int]:
            done = func.sum(case((TICKETS.c.done, 1), else_=0))
            every, finished = session.execute(select(func.count(), done).where(self._mine)).one()
            return every, int(finished or 0)

        return self._database.patiently(work)

    def held(self) -> list[Held]:
        """Tickets that somebody has or had when it went away."""

        def work(session: Session) -> list[Held]:
            left = (TICKETS.c.expires - now_seconds()).label("left")
            rows = session.execute(
                select(TICKETS.c.number, TICKETS.c.owner, left, TICKETS.c.lapses, TICKETS.c.subject)
                .where(self._mine, TICKETS.c.done.is_(False), TICKETS.c.owner.is_not(None))
                .order_by(TICKETS.c.number)
            )
            return [Held(row.number, row.owner, float(row.left), row.lapses, row.subject) for row in rows]

        return self._database.patiently(work)


def show(session: Session, lease: Lease, seconds: float, *, done: bool = False, progress: bool = False) -> bool:
    """Prove within a transaction that a lease still holds, which renews it; or end it, its ticket done.

    Until the transaction ends, nobody else can lease the ticket.

    Args:
        session: The transaction.
        lease: The claim.
        seconds: How long it lasts from now on.
        done: Whether the ticket has nothing left to do.
        progress: Whether something was achieved since it was leased: then earlier lapses count no longer.

    Returns:
        Whether it held; where it did not, another worker has the ticket, and nothing may be written.
    """
    own: dict[str, Any] = {"ticket": lease.ticket, "shown": lease.token} | ({} if done else {"seconds": seconds})
    return _rows(session.execute(showing(done=done, progress=progress), own)) == 1


def renew(session: Session, leases: Collection[Lease], seconds: float) -> set[int]:
    """Renew leases; the tickets (their rows) of those that hold, which are not done and nobody else's."""
    tickets = [lease.ticket for lease in leases]
    rows = session.execute(
        select(TICKETS.c.id, TICKETS.c.token)
        .where(TICKETS.c.id.in_(tickets), TICKETS.c.done.is_(False))
        .with_for_update()
    ).all()
    tokens = {row.id: row.token for row in rows}
    good = {lease.ticket for lease in leases if tokens.get(lease.ticket) == lease.token}
    if good:
        session.execute(
            update(TICKETS).where(TICKETS.c.id.in_(good)).values(expires=now_seconds() + seconds),
        )
    return good


def release(session: Session, lease: Lease) -> bool:
    """Give a ticket back at once, if it is still this lease's, which is returned."""
    released = session.execute(
        update(TICKETS)
        .where(TICKETS.c.id == lease.ticket, TICKETS.c.token == lease.token, TICKETS.c.done.is_(False))
        .values(owner=None, expires=None),
    )
    return _rows(released) == 1


def _rows(result: Any) -> int:
    """How many rows a statement met."""
    return result.rowcount


def lapse(session: Session, study: str, owners: Collection[str]) -> None:
    """Let the leases of workers that are known to have ended lapse now."""
    session.execute(
        update(TICKETS)
        .where(TICKETS.c.study == study, TICKETS.c.owner.in_(owners), TICKETS.c.done.is_(False))
        .values(expires=0.0),
    )


def excuse(session: Session, study: str, owner: str, but: Collection[int] = ()) -> list[int]:
    """Let the leases of a worker that has ended lapse now, without counting that; rows of the tickets.

    Args:
        session: The transaction.
        study: The study.
        owner: The worker.
        but: Rows of tickets that stay as they are.
    """
    row = TICKETS.c
    own = and_(row.study == study, row.owner == owner, row.done.is_(False), row.id.not_in(but))
    excused = list(session.scalars(select(row.id).where(own).with_for_update()))
    if excused:
        # The next claim counts one.
        forgiven = {"expires": 0.0, "lapses": row.lapses - 1}
        session.execute(update(TICKETS).where(row.id.in_(excused)).values(forgiven))
    return excused


def owners(session: Session, study: str) -> set[str]:
    """Who has tickets of a study, or had when it went away."""
    query = select(TICKETS.c.owner).where(TICKETS.c.study == study, TICKETS.c.owner.is_not(None)).distinct()
    return {owner for owner in session.scalars(query) if owner is not None}


def read_tickets(session: Session, study: str) -> list[Ticket]:
    """All tickets of a study, by kind and number."""
    row = TICKETS.c
    left = (row.expires - now_seconds()).label("left")
    found = session.execute(
        select(row.id, row.kind, row.number, row.subject, row.done, row.owner, left)
        .where(row.study == study)
        .order_by(row.kind, row.number)
    )
    return [Ticket(each.id, each.kind, each.number, each.subject, each.done, each.owner, each.left) for each in found]


def settle(session: Session, ticket: int, *, done: bool) -> None:
    """Set whether a ticket is done, whoever has it: the new token keeps that one from writing."""
    session.execute(
        update(TICKETS)
        .where(TICKETS.c.id == ticket)
        .values(done=done, owner=None, expires=None, token=TICKETS.c.token + 1)
    )


def free_lapsed(session: Session, ticket: int) -> bool:
    """Free a ticket whose lease has lapsed, counted as its next claim would; whether that was still so."""
    freed = session.execute(
        update(TICKETS)
        .where(TICKETS.c.id == ticket, TICKETS.c.done.is_(False), TICKETS.c.expires < now_seconds())
        .values(owner=None, expires=None, token=TICKETS.c.token + 1, lapses=TICKETS.c.lapses + 1)
    )
    return _rows(freed) == 1
