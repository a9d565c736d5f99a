"""What kills and cut connections leave of a search: nothing wrong. A short run of benchmarks/chaos.py."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import chaos

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_ten_incidents_do_no_damage(database: str) -> None:
    options = argparse.Namespace(kills=10, workers=3, trials=8, epochs=40, database=database, seed=1, only=None)
    report, damage = chaos.measure(options)
    assert dataclasses.asdict(damage) == dict.fromkeys(dataclasses.asdict(damage), 0), report.markdown()
    assert sum(int(row[1]) for row in report.tables["Incidents"].rows) == 10
