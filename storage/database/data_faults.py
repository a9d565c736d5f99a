"""The table of data faults: what was found in each study's dataset before its first trial."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from .engine import Database
from .json_rows import read_json_row
from .schema import LONG_BYTES, Table


class _FaultsRow(Table):
    __tablename__ = "frostline_data_faults"

    study: Mapped[str] = mapped_column(String(250), primary_key=True)
    # JSON: the list of all copies of a large dataset exceeds the JSON and TEXT columns of some servers.
    content: Mapped[bytes] = mapped_column(LONG_BYTES)


class DataFaultsTable:
    """The data faults of one study, as plain values.

    **Guarantees:** :meth:`set` is atomic; a reader sees all of it or what was there before.

    Args:
        database: Database that holds the faults.
        study: Name of the study.

    Examples:
        >>> from frostline.storage.database import Database, DataFaultsTable
        >>> faults = DataFaultsTable(Database("sqlite://"), "flowers")
        >>> faults.get() is None
        True
        >>> faults.set({"copies": []})
        >>> faults.get()
        {'copies': []}
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def get(self) -> dict[str, Any] | None:
        """Return the faults; None if nothing looked for them.

        Raises:
            UnreachableError: The database cannot be used.
        """
        return read_json_row(self._database, _FaultsRow.content, _FaultsRow.study == self._study)

    def set(self, faults: dict[str, Any]) -> None:
        """Keep the faults, in place of earlier ones.

        Raises:
            UnreachableError: The database cannot be used.
        """

        def work(session: Session) -> None:
            session.execute(delete(_FaultsRow).where(_FaultsRow.study == self._study))
            session.add(_FaultsRow(study=self._study, content=json.dumps(faults).encode()))

        self._database.run_with_retry(work)
