"""Tickets: a study's units of work, each leased to one worker at a time and completed once.

A worker claims a ticket for some seconds and renews the lease while it runs. When the lease has expired, another worker
can claim the ticket. Each claim increases the ticket's fencing token (Kleppmann 2016, "How to do distributed locking").
Every write proves its token in the same transaction, so a worker that lost its lease cannot write.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Update, and_, bindparam, case, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..errors import UnreachableError
from .engine import Database, now_seconds
from .ticket_table import CRASHING, CREDITING, FINISHING, LEASING, PROVING, RELEASING, TICKETS, TicketRow
from .ticket_use import TicketUse, fill_used_seconds, read_use, used_seconds

# Attempts to issue tickets while other processes issue some too.
ISSUERS = 20


@dataclass(frozen=True)
class Lease:
    """A worker's claim on a ticket.

    Attributes:
        ticket: Row id of the ticket.
        number: Number of the ticket within its kind.
        subject: What the ticket stands for, where its number does not tell.
        owner: Name of the worker.
        token: Fencing token; increases with every claim of this ticket.
        lapses: Number of workers that crashed, or lost their device, while they held the ticket.
        used_seconds: Device seconds that earlier leases of the ticket recorded.
    """

    ticket: int
    number: int
    subject: str | None
    owner: str
    token: int
    lapses: int
    used_seconds: float = 0.0


@dataclass(frozen=True)
class ActiveLease:
    """A leased ticket, as readers see it.

    Attributes:
        number: Number of the ticket within its kind.
        owner: Name of the worker.
        seconds_left: Seconds until the lease expires; negative if it has expired.
        lapses: See :class:`Lease`.
        subject: See :class:`Lease`.
    """

    number: int
    owner: str
    seconds_left: float
    lapses: int
    subject: str | None = None


class Tickets:
    """The tickets of one kind of one study.

    **Guarantees:**

    - At any time at most one worker holds a ticket, on however many machines.
    - A claim is part of the caller's transaction: the leases and what is written with them are committed together, or
      not at all.
    - A ticket is not lost with its worker: after a kill the lease expires, and another worker can claim the ticket.
      Claims take the lowest open numbers first.
    - A lease is valid until another worker claims the ticket, even after it expired. From then on :func:`prove`,
      :func:`credit_progress` and :func:`finish` return False for the old lease, and the caller writes nothing.
    - A ticket that is done stays done; only :func:`set_done`, a repair, reopens it, and overrides leases.
    - Expiry follows the database's clock: clocks of machines need not agree.
    - Device seconds are recorded in the transaction that proves the lease: those of a worker that lost it do not count,
      and none count twice.
    - Methods may be called from any thread and retry while a database server is down, except :meth:`claim`, which
      leaves that to its caller.

    Args:
        database: Database that holds the tickets.
        study: Name of the study.
        kind: ``trial`` or ``final``.

    Examples:
        >>> from frostline.storage.database import Database
        >>> from frostline.storage.database import Tickets
        >>> database = Database("sqlite://")
        >>> tickets = Tickets(database, "flowers", "trial")
        >>> tickets.issue(2)
        >>> with database.session() as session:
        ...     [lease.number for lease in tickets.claim(session, owner="worker", seconds=60)]
        [0]
        >>> tickets.counts()
        (2, 0)
    """

    def __init__(self, database: Database, study: str, kind: str) -> None:
        self._database = database
        self._study = study
        self._kind = kind
        self._mine = and_(TICKETS.c.study == study, TICKETS.c.kind == kind)
        row = TICKETS.c
        open_tickets = (
            select(row.id, row.number, row.subject, row.token, row.owner, row.lapses, row.used_seconds)
            .where(self._mine, row.done.is_(False), or_(row.owner.is_(None), row.expires < now_seconds()))
            .order_by(row.number)
            .limit(bindparam("most"))
            .with_for_update(skip_locked=True)
        )
        self._open = open_tickets
        self._begun = open_tickets.where(row.token > 0)

    def issue(self, count: int, done: Collection[int] = ()) -> None:
        """Create the missing tickets among 0..count-1; existing tickets stay unchanged.

        Args:
            count: Number of tickets that must exist afterwards.
            done: Numbers of new tickets whose work is already completed.

        Raises:
            UnreachableError: The database cannot be used.
        """

        def missing(there: Sequence[TicketRow]) -> list[dict[str, Any]]:
            numbers = {row.number for row in there}
            return [{"number": number, "done": number in done} for number in range(count) if number not in numbers]

        self._issue(missing)

    def issue_for(self, subjects: Sequence[str]) -> None:
        """Create a ticket for each subject that has none, numbered in this order after the existing tickets.

        Raises:
            UnreachableError: The database cannot be used.
        """

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
                return self._database.run_with_retry(work)
            except UnreachableError as error:
                if not isinstance(error.__cause__, IntegrityError):
                    raise
                # Another process issued the same tickets: retry.
        return self._database.run_with_retry(work)

    def claim(
        self, session: Session, owner: str, seconds: float, limit: int = 1, budget: float | None = None
    ) -> list[Lease]:
        """Lease open tickets, lowest numbers first; tickets that expired are among them.

        Args:
            session: Transaction that commits the claim together with what the caller writes.
            owner: Name of the worker, unique among all workers.
            seconds: Seconds until the leases expire unless renewed.
            limit: Maximum number of tickets.
            budget: Device seconds that all tickets may use; None for no limit. When they are spent, only tickets that
                were claimed before are leased, so that their work can be ended.

        Returns:
            The new leases; empty if no ticket is open.
        """
        spent = budget is not None and used_seconds(session, self._mine) >= budget
        rows = session.execute(self._begun if spent else self._open, {"most": limit}).all()
        leases = [
            Lease(
                *(row.id, row.number, row.subject, owner, row.token + 1),
                # With the worker whose lease has expired.
                lapses=row.lapses + (row.owner is not None),
                used_seconds=row.used_seconds or 0.0,
            )
            for row in rows
        ]
        if leases:
            tickets = [lease.ticket for lease in leases]
            session.execute(LEASING, {"tickets": tickets, "worker": owner, "seconds": seconds})
        return leases

    def exhausted(self) -> bool:
        """Return whether all tickets are done."""
        issued, done = self.counts()
        return done >= issued

    def counts(self) -> tuple[int, int]:
        """Return the number of tickets, and the number of those that are done."""

        def work(session: Session) -> tuple[int, int]:
            done = func.sum(case((TICKETS.c.done, 1), else_=0))
            every, finished = session.execute(select(func.count(), done).where(self._mine)).one()
            return every, int(finished or 0)

        return self._database.run_with_retry(work)

    def use(self) -> TicketUse:
        """Return what has become of the tickets."""
        return self._database.run_with_retry(partial(read_use, chosen=self._mine))

    def fill_used_seconds(self, seconds: Mapping[int, float]) -> None:
        """Record the device seconds, by number, of tickets for which an older version recorded none."""
        self._database.run_with_retry(partial(fill_used_seconds, chosen=self._mine, seconds=seconds))

    def held(self) -> list[ActiveLease]:
        """Return the leased tickets, those with expired leases included."""

        def work(session: Session) -> list[ActiveLease]:
            left = (TICKETS.c.expires - now_seconds()).label("left")
            rows = session.execute(
                select(TICKETS.c.number, TICKETS.c.owner, left, TICKETS.c.lapses, TICKETS.c.subject)
                .where(self._mine, TICKETS.c.done.is_(False), TICKETS.c.owner.is_not(None))
                .order_by(TICKETS.c.number)
            )
            return [ActiveLease(row.number, row.owner, float(row.left), row.lapses, row.subject) for row in rows]

        return self._database.run_with_retry(work)


def prove(session: Session, lease: Lease, seconds: float, used: float | None = None) -> bool:
    """Prove within a transaction that a lease is still valid, and renew it.

    Until the transaction ends, no other worker can claim the ticket.

    Args:
        session: Transaction that the proof protects.
        lease: Lease to prove.
        seconds: Seconds until the renewed lease expires.
        used: Device seconds of the ticket, of earlier leases too, to record; None leaves them.

    Returns:
        True if the lease is valid. False if another worker has claimed the ticket: the caller must write nothing.
    """
    return _update_held(session, PROVING, lease, seconds=seconds, used=used)


def credit_progress(session: Session, lease: Lease, seconds: float, used: float | None = None) -> bool:
    """Prove and renew a lease as :func:`prove` does, and reset the ticket's count of crashes."""
    return _update_held(session, CREDITING, lease, seconds=seconds, used=used)


def finish(session: Session, lease: Lease, used: float | None = None) -> bool:
    """Prove a lease as :func:`prove` does, and mark its ticket done, which ends the lease.

    A repeated call returns True too: the answer to the first may have been lost.
    """
    return _update_held(session, FINISHING, lease, used=used)


def _update_held(session: Session, statement: Update, lease: Lease, **values: float | None) -> bool:
    """Update the ticket of a lease; return whether the lease was valid."""
    return row_count(session.execute(statement, {"ticket": lease.ticket, "held": lease.token, **values})) == 1


def renew(session: Session, leases: Collection[Lease], seconds: float) -> set[int]:
    """Renew leases in a transaction.

    Args:
        session: Transaction that renews.
        leases: Leases to renew.
        seconds: Seconds until the renewed leases expire.

    Returns:
        Row ids of the tickets whose leases are valid: not done, and not claimed by another worker.
    """
    tickets = [lease.ticket for lease in leases]
    open_ = select(TICKETS.c.id, TICKETS.c.token).where(TICKETS.c.id.in_(tickets), TICKETS.c.done.is_(False))
    rows = session.execute(open_.with_for_update()).all()
    tokens = {row.id: row.token for row in rows}
    good = {lease.ticket for lease in leases if tokens.get(lease.ticket) == lease.token}
    if good:
        session.execute(update(TICKETS).where(TICKETS.c.id.in_(good)).values(expires=now_seconds() + seconds))
    return good


def release(session: Session, lease: Lease, used: float | None = None) -> bool:
    """Release a ticket, so that other workers can claim it; return False if the lease was no longer valid.

    Seconds are recorded as by :func:`prove`.
    """
    return _update_held(session, RELEASING, lease, used=used)


def release_crashed(session: Session, lease: Lease) -> bool:
    """Release a ticket as :func:`release` does, and count a crash: its work cost the worker its device."""
    return _update_held(session, CRASHING, lease, used=None)


def row_count(result: Any) -> int:
    """Return the number of rows that a statement changed."""
    return result.rowcount


def expire(session: Session, study: str, owners: Collection[str]) -> None:
    """Expire the leases of workers that have ended; each counts as a crash."""
    session.execute(
        update(TICKETS)
        .where(TICKETS.c.study == study, TICKETS.c.owner.in_(owners), TICKETS.c.done.is_(False))
        .values(expires=0.0),
    )


def expire_without_penalty(session: Session, study: str, owner: str, but: Collection[int] = ()) -> list[int]:
    """Expire the leases of a worker that has ended, without counting a crash.

    Args:
        session: Transaction that changes the tickets.
        study: Name of the study.
        owner: Name of the worker.
        but: Row ids of tickets to leave unchanged.

    Returns:
        Row ids of the expired tickets.
    """
    row = TICKETS.c
    own = and_(row.study == study, row.owner == owner, row.done.is_(False), row.id.not_in(but))
    excused = list(session.scalars(select(row.id).where(own).with_for_update()))
    if excused:
        # The next claim adds one.
        forgiven = {"expires": 0.0, "lapses": row.lapses - 1}
        session.execute(update(TICKETS).where(row.id.in_(excused)).values(forgiven))
    return excused


def owners(session: Session, study: str) -> set[str]:
    """Return the names of the workers that hold tickets of a study, or crashed while they held some."""
    query = select(TICKETS.c.owner).where(TICKETS.c.study == study, TICKETS.c.owner.is_not(None)).distinct()
    return {owner for owner in session.scalars(query) if owner is not None}
