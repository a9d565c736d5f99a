"""The finals of studies: each finalist's trainings, and the record of every opening of the test split."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, LargeBinary, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from .database import Database, Table
from .errors import LeaseLostError
from .tickets import Lease, show


class _FinalRow(Table):
    __tablename__ = "frostline_finals"
    __table_args__ = (UniqueConstraint("study", "finalist", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(250), index=True)
    finalist: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int]
    outcome: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels: Mapped[bytes] = mapped_column(LargeBinary)
    predictions: Mapped[bytes] = mapped_column(LargeBinary)
    # Null in finals from before they were kept.
    probabilities: Mapped[bytes | None] = mapped_column(LargeBinary)
    test_opened: Mapped[datetime]


@dataclass(frozen=True)
class StoredFinal:
    """One training of a finalist.

    Attributes:
        finalist: Identifies the configuration.
        seed: Of the training.
        outcome: Scores and costs, plain values.
        labels: True classes of the test images (N,).
        predictions: Predicted classes (N,).
        probabilities: Of the classes (N, K); None in finals from before they were kept.
        test_opened: When the test split was opened for it (UTC).
    """

    finalist: str
    seed: int
    outcome: dict[str, Any]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32] | None
    test_opened: datetime


class FinalsTable:
    """Finals of one study.

    Args:
        database: Where they are kept.
        study: Its name.
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def add(
        self,
        finalist: str,
        seed: int,
        outcome: dict[str, Any],
        labels: NDArray[np.int64],
        probabilities: NDArray[np.float32],
        lease: Lease | None = None,
    ) -> None:
        """Record a training together with the opening of the test split that it took, and end its ticket.

        Raises:
            LeaseLostError: Another worker has the ticket; nothing was recorded.
        """
        row = _FinalRow(
            study=self._study,
            finalist=finalist,
            seed=seed,
            outcome=outcome,
            labels=pack_classes(labels),
            predictions=pack_classes(probabilities.argmax(axis=1)),
            probabilities=np.asarray(probabilities, dtype="<f4").tobytes(),
            test_opened=datetime.now(UTC).replace(tzinfo=None),
        )

        def work(session: Session) -> None:
            if lease is not None and not show(session, lease, 0.0, done=True):
                raise LeaseLostError([lease.number])
            # Where a connection broke after the commit, it is there already.
            if lease is None or not self._has(session, finalist, seed):
                session.add(row)

        self._database.patiently(work)

    def has(self, finalist: str, seed: int) -> bool:
        """Whether a training is recorded."""
        return self._database.patiently(lambda session: self._has(session, finalist, seed))

    def _has(self, session: Session, finalist: str, seed: int) -> bool:
        there = select(_FinalRow.id).where(
            _FinalRow.study == self._study, _FinalRow.finalist == finalist, _FinalRow.seed == seed
        )
        return session.scalar(there) is not None

    def recorded(self, session: Session) -> set[tuple[str, int]]:
        """Finalists and seeds of all trainings that are recorded."""
        query = select(_FinalRow.finalist, _FinalRow.seed).where(_FinalRow.study == self._study)
        return {(row.finalist, row.seed) for row in session.execute(query)}

    def all(self) -> list[StoredFinal]:
        """In the order of their ending."""
        with self._database.session() as session:
            rows = session.scalars(select(_FinalRow).where(_FinalRow.study == self._study).order_by(_FinalRow.id)).all()
        return [
            StoredFinal(
                finalist=row.finalist,
                seed=row.seed,
                outcome=row.outcome,
                labels=unpack_classes(row.labels),
                predictions=unpack_classes(row.predictions),
                probabilities=_unpack_probabilities(row),
                test_opened=row.test_opened,
            )
            for row in rows
        ]


def pack_classes(classes: NDArray[np.int64]) -> bytes:
    """Classes (N,) for a column."""
    return np.asarray(classes, dtype="<i4").tobytes()


def unpack_classes(data: bytes) -> NDArray[np.int64]:
    """Classes (N,) from a column."""
    return np.frombuffer(data, dtype="<i4").astype(np.int64)


def _unpack_probabilities(row: _FinalRow) -> NDArray[np.float32] | None:
    if row.probabilities is None:
        return None
    return np.frombuffer(row.probabilities, dtype="<f4").reshape(len(unpack_classes(row.labels)), -1)
