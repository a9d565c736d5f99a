"""The finals table: each finalist's trainings, each with the time at which it opened the test split."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from ..errors import LeaseLostError
from .engine import Database
from .predictions import pack_classes, tested_columns, unpack_classes, unpack_probabilities
from .schema import LONG_BYTES, Table
from .tickets import Lease, finish


class _FinalRow(Table):
    __tablename__ = "frostline_finals"
    __table_args__ = (UniqueConstraint("study", "finalist", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(250), index=True)
    finalist: Mapped[str] = mapped_column(String(64))
    seed: Mapped[int]
    outcome: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels: Mapped[bytes] = mapped_column(LONG_BYTES)
    predictions: Mapped[bytes] = mapped_column(LONG_BYTES)
    # Null in finals of versions that did not store them.
    probabilities: Mapped[bytes | None] = mapped_column(LONG_BYTES)
    probability_bytes: Mapped[int | None]
    test_opened: Mapped[datetime]


@dataclass(frozen=True)
class StoredFinal:
    """One training of a finalist.

    Attributes:
        finalist: Identifier of the finalist's configuration.
        seed: Seed of the training.
        outcome: Scores and costs as plain values.
        labels: True classes of the test images, shape (N,).
        predictions: Predicted classes, shape (N,).
        probabilities: Class probabilities, shape (N, K); None in finals of versions that did not store them.
        test_opened: Time in UTC at which the training opened the test split.
    """

    finalist: str
    seed: int
    outcome: dict[str, Any]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.floating] | None
    test_opened: datetime


@dataclass(frozen=True)
class FinalOutcome:
    """Scores and costs of one training of a finalist, without its predictions.

    Attributes:
        finalist: Identifier of the finalist's configuration.
        seed: Seed of the training.
        outcome: Scores and costs as plain values.
    """

    finalist: str
    seed: int
    outcome: dict[str, Any]


class FinalsTable:
    """Finals of one study.

    **Guarantees:**

    - A final, the time it opened the test split and the end of its ticket are committed in one transaction, or not at
      all; what is committed survives a kill.
    - A finalist and seed have at most one final. Finals are only added: this class changes and deletes none.
    - With a lease, only the worker that holds the ticket can write.
    - Readers see complete finals only.

    Args:
        database: Database that holds the finals.
        study: Name of the study.
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
        probabilities: NDArray[np.floating],
        lease: Lease | None = None,
    ) -> None:
        """Record a training and the opening of the test split, and mark its ticket done.

        Args:
            finalist: Identifier of the finalist's configuration.
            seed: Seed of the training.
            outcome: Scores and costs as plain values.
            labels: True classes of the test images, shape (N,).
            probabilities: Class probabilities, shape (N, K).
            lease: Lease of the ticket; without one nothing is proven and no ticket ends.

        Raises:
            LeaseLostError: Another worker holds the ticket; nothing was recorded.
            UnreachableError: The database cannot be used, or holds this final already and no lease was given.
        """
        row = _FinalRow(
            study=self._study,
            finalist=finalist,
            seed=seed,
            outcome=outcome,
            predictions=pack_classes(probabilities.argmax(axis=1)),
            **tested_columns(labels, probabilities),
        )

        def work(session: Session) -> None:
            if lease is not None and not finish(session, lease):
                raise LeaseLostError([lease.number])
            # It exists already if a connection broke after the commit.
            if lease is None or not self._has(session, finalist, seed):
                session.add(row)

        self._database.run_with_retry(work)

    def has(self, finalist: str, seed: int) -> bool:
        """Return whether a training is recorded.

        Raises:
            UnreachableError: The database cannot be used.
        """
        return self._database.run_with_retry(lambda session: self._has(session, finalist, seed))

    def _has(self, session: Session, finalist: str, seed: int) -> bool:
        there = select(_FinalRow.id).where(
            _FinalRow.study == self._study, _FinalRow.finalist == finalist, _FinalRow.seed == seed
        )
        return session.scalar(there) is not None

    def recorded(self, session: Session) -> set[tuple[str, int]]:
        """Return the finalist and seed of every training that a session sees."""
        return set(self._identities(session))

    def identities(self) -> list[tuple[str, int]]:
        """Return the finalist and seed of every training, in recorded order, without reading its predictions.

        Raises:
            UnreachableError: The database cannot be used.
        """
        return self._database.run_with_retry(self._identities)

    def _identities(self, session: Session) -> list[tuple[str, int]]:
        query = select(_FinalRow.finalist, _FinalRow.seed).where(_FinalRow.study == self._study).order_by(_FinalRow.id)
        return [(row.finalist, row.seed) for row in session.execute(query)]

    def outcomes(self) -> list[FinalOutcome]:
        """Return scores and costs of every training, in recorded order, without reading its predictions.

        Raises:
            UnreachableError: The database cannot be used.
        """
        columns = select(_FinalRow.finalist, _FinalRow.seed, _FinalRow.outcome)
        query = columns.where(_FinalRow.study == self._study).order_by(_FinalRow.id)
        rows = self._database.run_with_retry(lambda session: session.execute(query).all())
        return [FinalOutcome(row.finalist, row.seed, row.outcome) for row in rows]

    def get(self, finalist: str, seed: int) -> StoredFinal | None:
        """Return one training; None if it is not recorded.

        Raises:
            UnreachableError: The database cannot be used.
        """
        query = select(_FinalRow).where(
            _FinalRow.study == self._study, _FinalRow.finalist == finalist, _FinalRow.seed == seed
        )
        row = self._database.run_with_retry(lambda session: session.scalar(query))
        return None if row is None else _stored(row)

    def all(self) -> list[StoredFinal]:
        """Return all finals, in the order in which they were recorded.

        Raises:
            UnreachableError: The database cannot be used.
        """
        with self._database.session() as session:
            rows = session.scalars(select(_FinalRow).where(_FinalRow.study == self._study).order_by(_FinalRow.id)).all()
        return [_stored(row) for row in rows]


def _stored(row: _FinalRow) -> StoredFinal:
    labels, kept = unpack_classes(row.labels), row.probabilities
    return StoredFinal(
        finalist=row.finalist,
        seed=row.seed,
        outcome=row.outcome,
        labels=labels,
        predictions=unpack_classes(row.predictions),
        probabilities=None if kept is None else unpack_probabilities(kept, row.probability_bytes, len(labels)),
        test_opened=row.test_opened,
    )
