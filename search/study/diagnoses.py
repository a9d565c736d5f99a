"""The diagnoses of a study: typed views of what its database keeps of them."""

from __future__ import annotations

from ...objectives.data import Nearness
from ...objectives.speed import SpeedProbe
from ...storage.database import Database, DiagnosesTable
from ..analysis import ModelStock, Truncation

_TRUNCATION, _NEARNESS, _SPEED, _STOCK = "truncation", "nearness", "speed", "model stock"


class Diagnoses:
    """What was measured for a study beside its trials and finals; neither they nor the verdict read it.

    Args:
        database: Database of the study.
        study: Name of the study.
    """

    def __init__(self, database: Database, study: str) -> None:
        self._table = DiagnosesTable(database, study)

    def truncation(self) -> Truncation | None:
        """Return what the cuts of the pretrained network score and cost; None unless ``frostline truncate`` was run."""
        row = self._table.get(_TRUNCATION)
        return None if row is None else Truncation.from_row(row)

    def keep_truncation(self, found: Truncation) -> None:
        """Keep what the cuts of the pretrained network score and cost."""
        self._table.set(_TRUNCATION, found.to_row())

    def nearness(self) -> Nearness | None:
        """Return how near the data are to those of the pretraining; None in older studies."""
        row = self._table.get(_NEARNESS)
        return None if row is None else Nearness.from_row(row)

    def keep_nearness(self, measured: Nearness) -> None:
        """Keep how near the data are to those of the pretraining."""
        self._table.set(_NEARNESS, measured.to_row())

    def stock(self) -> ModelStock | None:
        """Return the model stock of the recommended strategy's seeds; None unless one was tried."""
        row = self._table.get(_STOCK)
        return None if row is None else ModelStock.from_row(row)

    def keep_stock(self, made: ModelStock) -> None:
        """Keep the model stock of the recommended strategy's seeds."""
        self._table.set(_STOCK, made.to_row())

    def speed(self) -> SpeedProbe | None:
        """Return the speed of the backbone on the device of the first trial; None unless the study began with a budget.

        Readers need no torch for it.
        """
        row = self._table.get(_SPEED)
        return None if row is None else SpeedProbe.from_row(row)

    def keep_speed(self, measured: SpeedProbe) -> None:
        """Keep the speed of the backbone on the device of the first trial."""
        self._table.set(_SPEED, measured.to_row())
