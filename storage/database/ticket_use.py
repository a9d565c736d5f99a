"""The use of a study's tickets: how many are done, and how many device seconds they took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, case, func, select, update
from sqlalchemy.orm import Session

from .engine import now_seconds
from .ticket_table import TICKETS


@dataclass(frozen=True)
class TicketUse:
    """What has become of the tickets of one kind of one study.

    Attributes:
        issued: Number of tickets.
        done: Number of those that are done.
        begun: Number of those that a worker has claimed and that are not done.
        seconds: Device seconds recorded for all of them.
        workers: Number of workers that hold some of them.
    """

    issued: int
    done: int
    begun: int
    seconds: float
    workers: int


def read_use(session: Session, chosen: ColumnElement[bool]) -> TicketUse:
    """Return the use of the tickets that a condition chooses."""
    row = TICKETS.c
    open_ = row.done.is_(False)
    alive = case((and_(open_, row.expires >= now_seconds()), row.owner))
    query = select(
        func.count().label("issued"),
        func.sum(case((row.done, 1), else_=0)).label("done"),
        func.sum(case((and_(open_, row.token > 0), 1), else_=0)).label("begun"),
        func.sum(row.used_seconds).label("seconds"),
        func.count(alive.distinct()).label("workers"),
    ).where(chosen)
    found = session.execute(query).one()
    return TicketUse(
        found.issued, int(found.done or 0), int(found.begun or 0), float(found.seconds or 0.0), found.workers
    )


def used_seconds(session: Session, chosen: ColumnElement[bool]) -> float:
    """Return the device seconds of the tickets that a condition chooses."""
    return float(session.scalar(select(func.sum(TICKETS.c.used_seconds)).where(chosen)) or 0.0)


def fill_used_seconds(session: Session, chosen: ColumnElement[bool], seconds: Mapping[int, float]) -> None:
    """Record the device seconds, by number, of tickets for which an older version recorded none."""
    for number, used in seconds.items():
        unknown = and_(chosen, TICKETS.c.number == number, TICKETS.c.used_seconds.is_(None))
        session.execute(update(TICKETS).where(unknown).values(used_seconds=used))
