"""Tickets: what a study has to do, each piece done once, however many workers there are and however they end.

A ticket is leased to a worker for a time, and the worker renews its lease while it lives. One that lapsed goes to the
next worker that asks. Each leasing raises the ticket's token (a fencing token: Kleppmann 2016, "How to do distributed
locking"): who writes shows the token in the same transaction, so that a worker that was thought dead and comes back
writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy
from sqlalchemy import Index, String, UniqueConstraint, and_, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from .database import Database, Table, now_seconds
from .errors import UnreachableError

# How often issuing may meet another process that issues.
ISSUERS = 20


class _TicketRow(Table):
    __tablename__ = "frostline_tickets"
    __table_args__ = (
        UniqueConstraint("study", "kind", "number"),
        Index("frostline_tickets_open", "study", "kind", "done", "number"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(250))
    kind: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]
    # What it is about, where the number does not say it.
    subject: Mapped[str | None] = mapped_column(String(128))
    done: Mapped[bool] = mapped_column(default=False)
    owner: Mapped[str | None] = mapped_column(String(128))
    token: Mapped[int] = mapped_column(default=0)
    expires: Mapped[float | None]
    lapses: Mapped[int] = mapped_column(default=0)


# Statements on the table itself cost a fraction of those on its class, and every epoch makes some.
_TICKETS = cast(sqlalchemy.Table, _TicketRow.__table__)


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
        self._mine = and_(_TICKETS.c.study == study, _TICKETS.c.kind == kind)

    def issue(self, count: int, done: Collection[int] = ()) -> None:
        """See to it that there are tickets 0..count-1; those that are there stay as they are.

        Args:
            count: How many there shall be.
            done: Numbers of new ones that have nothing left to do.
        """

        def missing(there: Sequence[_TicketRow]) -> list[dict[str, Any]]:
            numbers = {row.number for row in there}
            return [{"number": number, "done": number in done} for number in range(count) if number not in numbers]

        self._issue(missing)

    def issue_for(self, subjects: Sequence[str]) -> None:
        """See to it that there is a ticket about each subject, in this order after those that are there."""

        def missing(there: Sequence[_TicketRow]) -> list[dict[str, Any]]:
            known = {row.subject for row in there}
            new = [subject for subject in subjects if subject not in known]
            first = 1 + max((row.number for row in there), default=-1)
            return [{"number": number, "done": False, "subject": name} for number, name in enumerate(new, first)]

        self._issue(missing)

    def _issue(self, missing: Callable[[Sequence[_TicketRow]], list[dict[str, Any]]]) -> None:
        shared = {"study": self._study, "kind": self._kind, "token": 0, "lapses": 0, "subject": None}

        def work(session: Session) -> None:
            if rows := missing(session.scalars(select(_TicketRow).where(self._mine)).all()):
                session.execute(insert(_TicketRow), [{**shared, **row} for row in rows])

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
        free = or_(_TICKETS.c.owner.is_(None), _TICKETS.c.expires < now_seconds())
        rows = session.execute(
            select(
                _TICKETS.c.id,
                _TICKETS.c.number,
                _TICKETS.c.subject,
                _TICKETS.c.token,
                _TICKETS.c.owner,
                _TICKETS.c.lapses,
            )
            .where(self._mine, _TICKETS.c.done.is_(False), free)
            .order_by(_TICKETS.c.number)
            .limit(limit)
            .with_for_update(skip_locked=True)
        ).all()
        leases = [
            Lease(row.id, row.number, row.subject, owner, row.token + 1, row.lapses + (row.owner is not None))
            for row in rows
        ]
        if leases:
            lapsed = case((_TICKETS.c.owner.is_not(None), _TICKETS.c.lapses + 1), else_=_TICKETS.c.lapses)
            session.execute(
                update(_TICKETS)
                .where(_TICKETS.c.id.in_([lease.ticket for lease in leases]))
                # MySQL sees what stands to the left as already set: lapses must come before owner.
                .ordered_values(
                    (_TICKETS.c.lapses, lapsed),
                    (_TICKETS.c.owner, owner),
                    (_TICKETS.c.token, _TICKETS.c.token + 1),
                    (_TICKETS.c.expires, now_seconds() + seconds),
                ),
            )
        return leases

    def exhausted(self) -> bool:
        """Whether all tickets are done, by whomever."""
        issued, done = self.counts()
        return done >= issued

    def counts(self) -> tuple[int, int]:
        """How many tickets there are, and how many of them are done."""

        def work(session: Session) -> tuple[int, int]:
            done = func.sum(case((_TICKETS.c.done, 1), else_=0))
            every, finished = session.execute(select(func.count(), done).where(self._mine)).one()
            return every, int(finished or 0)

        return self._database.patiently(work)

    def held(self) -> list[Held]:
        """Tickets that somebody has or had when it went away."""

        def work(session: Session) -> list[Held]:
            left = (_TICKETS.c.expires - now_seconds()).label("left")
            rows = session.execute(
                select(_TICKETS.c.number, _TICKETS.c.owner, left, _TICKETS.c.lapses, _TICKETS.c.subject)
                .where(self._mine, _TICKETS.c.done.is_(False), _TICKETS.c.owner.is_not(None))
                .order_by(_TICKETS.c.number)
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
    values: dict[str, Any] = {"owner": None, "expires": None} if done else {"expires": now_seconds() + seconds}
    values |= {"done": True} if done else {}
    values |= {"lapses": 0} if progress else {}
    shown = session.execute(
        update(_TICKETS).where(_TICKETS.c.id == lease.ticket, _TICKETS.c.token == lease.token).values(values),
    )
    return _rows(shown) == 1


def renew(session: Session, leases: Collection[Lease], seconds: float) -> set[int]:
    """Renew leases; the tickets (their rows) of those that hold, which are not done and nobody else's."""
    tickets = [lease.ticket for lease in leases]
    rows = session.execute(
        select(_TICKETS.c.id, _TICKETS.c.token)
        .where(_TICKETS.c.id.in_(tickets), _TICKETS.c.done.is_(False))
        .with_for_update()
    ).all()
    tokens = {row.id: row.token for row in rows}
    good = {lease.ticket for lease in leases if tokens.get(lease.ticket) == lease.token}
    if good:
        session.execute(
            update(_TICKETS).where(_TICKETS.c.id.in_(good)).values(expires=now_seconds() + seconds),
        )
    return good


def release(session: Session, lease: Lease) -> bool:
    """Give a ticket back at once, if it is still this lease's, which is returned."""
    released = session.execute(
        update(_TICKETS)
        .where(_TICKETS.c.id == lease.ticket, _TICKETS.c.token == lease.token, _TICKETS.c.done.is_(False))
        .values(owner=None, expires=None),
    )
    return _rows(released) == 1


def _rows(result: Any) -> int:
    """How many rows a statement met."""
    return result.rowcount


def lapse(session: Session, study: str, owners: Collection[str]) -> None:
    """Let the leases of workers that are known to have ended lapse now."""
    session.execute(
        update(_TICKETS)
        .where(_TICKETS.c.study == study, _TICKETS.c.owner.in_(owners), _TICKETS.c.done.is_(False))
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
    row = _TICKETS.c
    own = and_(row.study == study, row.owner == owner, row.done.is_(False), row.id.not_in(but))
    excused = list(session.scalars(select(row.id).where(own).with_for_update()))
    if excused:
        # The next claim counts one.
        forgiven = {"expires": 0.0, "lapses": row.lapses - 1}
        session.execute(update(_TICKETS).where(row.id.in_(excused)).values(forgiven))
    return excused


def owners(session: Session, study: str) -> set[str]:
    """Who has tickets of a study, or had when it went away."""
    query = select(_TICKETS.c.owner).where(_TICKETS.c.study == study, _TICKETS.c.owner.is_not(None)).distinct()
    return {owner for owner in session.scalars(query) if owner is not None}


def read_tickets(session: Session, study: str) -> list[Ticket]:
    """All tickets of a study, by kind and number."""
    row = _TICKETS.c
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
        update(_TICKETS)
        .where(_TICKETS.c.id == ticket)
        .values(done=done, owner=None, expires=None, token=_TICKETS.c.token + 1)
    )


def free_lapsed(session: Session, ticket: int) -> bool:
    """Free a ticket whose lease has lapsed, counted as its next claim would; whether that was still so."""
    freed = session.execute(
        update(_TICKETS)
        .where(_TICKETS.c.id == ticket, _TICKETS.c.done.is_(False), _TICKETS.c.expires < now_seconds())
        .values(owner=None, expires=None, token=_TICKETS.c.token + 1, lapses=_TICKETS.c.lapses + 1)
    )
    return _rows(freed) == 1
