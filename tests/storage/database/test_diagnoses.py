"""Diagnoses in a database: kept for each study and kind, and replaced as a whole."""

from __future__ import annotations

from frostline.storage.database import Database, DiagnosesTable


def test_diagnoses_are_kept_for_each_study_and_kind(database_url: str) -> None:
    database = Database(database_url)
    flowers, birds = DiagnosesTable(database, "flowers"), DiagnosesTable(database, "birds")
    assert flowers.get("truncation") is None
    # More than the 64 KB of a TEXT column.
    long = {"cuts": [{"unit": "é" * 100, "units": row} for row in range(2000)]}
    flowers.set("truncation", long)
    flowers.set("other", {"a": 1})
    birds.set("truncation", {"cuts": []})
    assert flowers.get("truncation") == long
    flowers.set("truncation", {"cuts": [1]})
    assert (flowers.get("truncation"), flowers.get("other")) == ({"cuts": [1]}, {"a": 1})
    assert birds.get("truncation") == {"cuts": []}
    database.engine.dispose()
