"""The finals of studies: each finalist's trainings, and the record of every opening of the test split."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, LargeBinary, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, mapped_column

from .database import Database, Table


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
        test_opened: When the test split was opened for it (UTC).
    """

    finalist: str
    seed: int
    outcome: dict[str, Any]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
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
        predictions: NDArray[np.int64],
    ) -> None:
        """Record a training together with the opening of the test split that it took."""
        row = _FinalRow(
            study=self._study,
            finalist=finalist,
            seed=seed,
            outcome=outcome,
            labels=_pack(labels),
            predictions=_pack(predictions),
            test_opened=datetime.now(UTC).replace(tzinfo=None),
        )
        with self._database.session() as session:
            session.add(row)

    def all(self) -> list[StoredFinal]:
        """In the order of their ending."""
        with self._database.session() as session:
            rows = session.scalars(select(_FinalRow).where(_FinalRow.study == self._study).order_by(_FinalRow.id)).all()
        return [
            StoredFinal(
                row.finalist, row.seed, row.outcome, _unpack(row.labels), _unpack(row.predictions), row.test_opened
            )
            for row in rows
        ]


def _pack(classes: NDArray[np.int64]) -> bytes:
    return np.asarray(classes, dtype="<i4").tobytes()


def _unpack(data: bytes) -> NDArray[np.int64]:
    return np.frombuffer(data, dtype="<i4").astype(np.int64)
