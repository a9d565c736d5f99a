"""The table of data-size curves: trainings of finalists on parts of the training images."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import JSON, String, UniqueConstraint, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from .engine import Database
from .predictions import tested_columns, unpack_classes, unpack_probabilities
from .schema import LONG_BYTES, Table


class _CurveRow(Table):
    __tablename__ = "frostline_curve"
    __table_args__ = (UniqueConstraint("study", "finalist", "images", "seed"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study: Mapped[str] = mapped_column(String(250), index=True)
    finalist: Mapped[str] = mapped_column(String(64))
    images: Mapped[int]
    seed: Mapped[int]
    outcome: Mapped[dict[str, Any]] = mapped_column(JSON)
    labels: Mapped[bytes] = mapped_column(LONG_BYTES)
    probabilities: Mapped[bytes] = mapped_column(LONG_BYTES)
    probability_bytes: Mapped[int | None]
    test_opened: Mapped[datetime]


@dataclass(frozen=True)
class StoredTraining:
    """One training of a finalist on a part of the training images.

    Attributes:
        finalist: Identifier of the finalist's configuration.
        images: Number of training images.
        seed: Seed of the training.
        outcome: Scores and costs as plain values.
        labels: True classes of the test images, shape (N,).
        probabilities: Class probabilities, shape (N, K).
        test_opened: Time in UTC at which the training opened the test split.
    """

    finalist: str
    images: int
    seed: int
    outcome: dict[str, Any]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.floating]
    test_opened: datetime


class CurveTable:
    """The data-size curve of one study.

    **Guarantees:** a training and the time it opened the test split are committed together; of two trainings with the
    same finalist, images and seed the first is kept; trainings are never changed or deleted.

    Args:
        database: Database that holds the curve.
        study: Name of the study.
    """

    def __init__(self, database: Database, study: str) -> None:
        self._database = database
        self._study = study

    def add(
        self,
        finalist: str,
        images: int,
        seed: int,
        outcome: dict[str, Any],
        labels: NDArray[np.int64],
        probabilities: NDArray[np.floating],
    ) -> None:
        """Record a training and the opening of the test split, unless the same training is recorded already.

        Args:
            finalist: Identifier of the finalist's configuration.
            images: Number of training images.
            seed: Seed of the training.
            outcome: Scores and costs as plain values.
            labels: True classes of the test images, shape (N,).
            probabilities: Class probabilities, shape (N, K).

        Raises:
            UnreachableError: The database cannot be used.
        """
        row = _CurveRow(
            study=self._study,
            finalist=finalist,
            images=images,
            seed=seed,
            outcome=outcome,
            **tested_columns(labels, probabilities),
        )

        def work(session: Session) -> None:
            if (finalist, images, seed) not in self._trained(session):
                session.add(row)

        self._database.run_with_retry(work)

    def trained(self) -> set[tuple[str, int, int]]:
        """Return finalist, number of images and seed of each training."""
        return self._database.run_with_retry(self._trained)

    def _trained(self, session: Session) -> set[tuple[str, int, int]]:
        columns = select(_CurveRow.finalist, _CurveRow.images, _CurveRow.seed)
        rows = session.execute(columns.where(_CurveRow.study == self._study))
        return {(row.finalist, row.images, row.seed) for row in rows}

    def all(self) -> list[StoredTraining]:
        """Return all trainings, in the order in which they were recorded."""
        query = select(_CurveRow).where(_CurveRow.study == self._study).order_by(_CurveRow.id)
        rows = self._database.run_with_retry(lambda session: session.scalars(query).all())
        return [_stored(row) for row in rows]


def _stored(row: _CurveRow) -> StoredTraining:
    labels = unpack_classes(row.labels)
    return StoredTraining(
        finalist=row.finalist,
        images=row.images,
        seed=row.seed,
        outcome=row.outcome,
        labels=labels,
        probabilities=unpack_probabilities(row.probabilities, row.probability_bytes, len(labels)),
        test_opened=row.test_opened,
    )
