"""The table of diagnoses: what was measured for a study beside its trials and finals, which only readers open."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, delete
from sqlalchemy.orm import Mapped, Session, mapped_column

from .engine import Database
from .json_rows import read_json_row
from .schema import LONG_BYTES, Table


class _DiagnosisRow(Table):
    __tablename__ = "frostline_diagnoses"

    study: Mapped[str] = mapped_column(String(250), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    # JSON, as in the table of data faults.
    content: Mapped[bytes] = mapped_column(LONG_BYTES)
    # In UTC; a diagnosis on test images opened them then.
    recorded: Mapped[datetime]


class DiagnosesTable:
    """The diagnoses of one study, as plain values by kind.

    **Guarantees:** :meth:`set` is atomic; a reader sees all of it or what was there before.

    Args:
        database: Database that holds the diagnoses.
        study: Name of the study.

    Examples:
        >>> from frostline.storage.database import Database, DiagnosesTable
        >>> diagnoses = DiagnosesTable(Database("sqlite://"), "flowers")
        >>> diagnoses.get("truncation") is None
        True
        >>> diagnoses.set("truncation", {"cuts": []})
        >>> diagnoses.get("truncation")
        {'cuts': []}
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def get(self, kind: str) -> dict[str, Any] | None:
        """Return a diagnosis; None if it was not made.

        Raises:
            UnreachableError: The database cannot be used.
        """
        own = (_DiagnosisRow.study == self._study, _DiagnosisRow.kind == kind)
        return read_json_row(self._database, _DiagnosisRow.content, *own)

    def set(self, kind: str, content: dict[str, Any]) -> None:
        """Keep a diagnosis and the present time, in place of an earlier one of its kind.

        Raises:
            UnreachableError: The database cannot be used.
        """
        now = datetime.now(UTC).replace(tzinfo=None)
        own = (_DiagnosisRow.study == self._study, _DiagnosisRow.kind == kind)

        def work(session: Session) -> None:
            session.execute(delete(_DiagnosisRow).where(*own))
            packed = json.dumps(content).encode()
            session.add(_DiagnosisRow(study=self._study, kind=kind, content=packed, recorded=now))

        self._database.run_with_retry(work)
