"""Tickets as the doctor sees them: read whole, and set right one by one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from .engine import now_seconds
from .ticket_table import TICKETS
from .tickets import row_count


@dataclass(frozen=True)
class Ticket:
    """A row of the tickets table, for consistency checks.

    Attributes:
        id: Row id of the ticket.
        kind: ``trial`` or ``final``.
        number: Number of the ticket within its kind.
        subject: What the ticket stands for, where its number does not tell.
        done: Whether its work is completed.
        owner: Worker that holds the ticket, or crashed while it held it; None if there is none.
        seconds_left: Seconds until the lease expires; negative if it has expired; None without a lease.
    """

    id: int
    kind: str
    number: int
    subject: str | None
    done: bool
    owner: str | None
    seconds_left: float | None


def read_tickets(session: Session, study: str) -> list[Ticket]:
    """Return all tickets of a study, ordered by kind and number."""
    row = TICKETS.c
    left = (row.expires - now_seconds()).label("left")
    found = session.execute(
        select(row.id, row.kind, row.number, row.subject, row.done, row.owner, left)
        .where(row.study == study)
        .order_by(row.kind, row.number)
    )
    return [Ticket(each.id, each.kind, each.number, each.subject, each.done, each.owner, each.left) for each in found]


def set_done(session: Session, ticket: int, *, done: bool) -> None:
    """Set whether a ticket is done. The new token invalidates the lease of a worker that holds it."""
    session.execute(
        update(TICKETS)
        .where(TICKETS.c.id == ticket)
        .values(done=done, owner=None, expires=None, token=TICKETS.c.token + 1)
    )


def reclaim_expired(session: Session, ticket: int) -> bool:
    """Release a ticket whose lease has expired, and count a crash; return False if it has not expired."""
    freed = session.execute(
        update(TICKETS)
        .where(TICKETS.c.id == ticket, TICKETS.c.done.is_(False), TICKETS.c.expires < now_seconds())
        .values(owner=None, expires=None, token=TICKETS.c.token + 1, lapses=TICKETS.c.lapses + 1)
    )
    return row_count(freed) == 1
