"""The early end of a search: why it ended before all of its trials ran, and the tickets that it withdrew."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from .engine import Database
from .json_rows import read_json_row
from .schema import LONG_BYTES, Table
from .ticket_table import TICKETS


class _EndingRow(Table):
    __tablename__ = "frostline_endings"

    study: Mapped[str] = mapped_column(String(250), primary_key=True)
    # JSON, as in the table of data faults.
    content: Mapped[bytes] = mapped_column(LONG_BYTES)
    # In UTC.
    recorded: Mapped[datetime]


class EndingsTable:
    """The early end of one study's search, as plain values.

    **Guarantees:** :meth:`end` is one transaction: the reason is recorded and no trial can be begun any more, or
    neither. What a worker has begun stays its own, and another worker's after a crash.

    Args:
        database: Database of the study.
        study: Name of the study.

    Examples:
        >>> from frostline.storage.database import Database, EndingsTable, Tickets
        >>> database = Database("sqlite://")
        >>> tickets, endings = Tickets(database, "flowers", "trial"), EndingsTable(database, "flowers")
        >>> tickets.issue(3)
        >>> with database.session() as session:
        ...     begun = tickets.claim(session, owner="worker", seconds=60)
        >>> endings.end({"chance": 0.04})
        >>> endings.get(), tickets.counts()
        ({'chance': 0.04}, (1, 0))
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def get(self) -> dict[str, Any] | None:
        """Return why the search ended; None if it did not.

        Raises:
            UnreachableError: The database cannot be used.
        """
        return read_json_row(self._database, _EndingRow.content, _EndingRow.study == self._study)

    def end(self, content: dict[str, Any]) -> None:
        """Record why the search ends, in place of an earlier reason, and withdraw the tickets that nobody has begun.

        Raises:
            UnreachableError: The database cannot be used.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        row = TICKETS.c
        own = (row.study == self._study, row.kind == "trial")

        def work(session: Session) -> None:
            # A claim that is committed first has counted up the token: its ticket stays.
            session.execute(delete(TICKETS).where(*own, row.token == 0, row.done.is_(False)))
            session.execute(delete(_EndingRow).where(_EndingRow.study == self._study))
            session.add(_EndingRow(study=self._study, content=json.dumps(content).encode(), recorded=now))

        self._database.run_with_retry(work)
