"""The tickets table, and prepared statements for its most frequent updates."""

from __future__ import annotations

from typing import cast

import sqlalchemy
from sqlalchemy import Float, Index, String, UniqueConstraint, bindparam, case, func, update
from sqlalchemy.orm import Mapped, mapped_column

from .engine import now_seconds
from .schema import Table


class TicketRow(Table):
    __tablename__ = "frostline_tickets"
    __table_args__ = (
        UniqueConstraint("study", "kind", "number"),
        Index("frostline_tickets_open", "study", "kind", "done", "number"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(250))
    kind: Mapped[str] = mapped_column(String(16))
    number: Mapped[int]
    # What the ticket stands for, where its number does not tell.
    subject: Mapped[str | None] = mapped_column(String(128))
    done: Mapped[bool] = mapped_column(default=False)
    owner: Mapped[str | None] = mapped_column(String(128))
    token: Mapped[int] = mapped_column(default=0)
    expires: Mapped[float | None]
    lapses: Mapped[int] = mapped_column(default=0)
    # Device seconds of all who held it; NULL before the first is recorded, and in older studies.
    used_seconds: Mapped[float | None]


# Statements on the table cost a fraction of statements on the class, and less if they are built once. Every epoch runs
# some.
TICKETS = cast(sqlalchemy.Table, TicketRow.__table__)
LEASING = (
    update(TICKETS)
    .where(TICKETS.c.id.in_(bindparam("tickets", expanding=True)))
    # MySQL evaluates assignments from left to right: lapses must come before owner.
    .ordered_values(
        (TICKETS.c.lapses, case((TICKETS.c.owner.is_not(None), TICKETS.c.lapses + 1), else_=TICKETS.c.lapses)),
        (TICKETS.c.owner, bindparam("worker")),
        (TICKETS.c.token, TICKETS.c.token + 1),
        (TICKETS.c.expires, now_seconds() + bindparam("seconds")),
    )
)


# Updates of a ticket that still has the given token.
_UPDATE_HELD = update(TICKETS).where(TICKETS.c.id == bindparam("ticket"), TICKETS.c.token == bindparam("held"))
# A total, not an increase: a transaction that is tried again because its answer was lost counts nothing twice.
_USED = func.coalesce(bindparam("used", type_=Float), TICKETS.c.used_seconds)
PROVING = _UPDATE_HELD.values(expires=now_seconds() + bindparam("seconds"), used_seconds=_USED)
CREDITING = _UPDATE_HELD.values(expires=now_seconds() + bindparam("seconds"), lapses=0, used_seconds=_USED)
FINISHING = _UPDATE_HELD.values(owner=None, expires=None, done=True, lapses=0, used_seconds=_USED)
RELEASING = _UPDATE_HELD.where(TICKETS.c.done.is_(False)).values(owner=None, expires=None, used_seconds=_USED)
CRASHING = _UPDATE_HELD.where(TICKETS.c.done.is_(False)).values(
    owner=None, expires=None, lapses=TICKETS.c.lapses + 1, used_seconds=_USED
)
