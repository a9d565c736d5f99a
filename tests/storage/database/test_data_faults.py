"""Data faults in a database: kept for each study, replaced as a whole, and as long as they are."""

from __future__ import annotations

from frostline.storage.database import Database, DataFaultsTable


def test_faults_are_kept_for_each_study(database_url: str) -> None:
    database = Database(database_url)
    flowers, birds = DataFaultsTable(database, "flowers"), DataFaultsTable(database, "birds")
    assert flowers.get() is None
    # More than the 64 KB of a TEXT column.
    long = {"copies": [{"name": "é" * 100, "row": row} for row in range(2000)]}
    flowers.set(long)
    birds.set({"copies": []})
    assert (flowers.get(), birds.get()) == (long, {"copies": []})
    flowers.set({"copies": [1]})
    assert flowers.get() == {"copies": [1]}
    database.engine.dispose()
