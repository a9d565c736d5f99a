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
    # Of this seed, ten are of all kinds, whether or not a disk can be filled here.
    options = argparse.Namespace(kills=10, workers=2, trials=6, epochs=40, database=database, seed=103, only=None)
    report, damage = chaos.measure(options)
    assert dataclasses.asdict(damage) == dict.fromkeys(dataclasses.asdict(damage), 0), report.markdown()
    incidents = report.tables["Incidents"].rows
    assert sum(int(row[1]) for row in incidents) == 10
    assert {row[0] for row in incidents} >= {"SIGKILL", "SIGTERM", "SIGSTOP", "supervisor"}
    assert sum(int(row[2]) for row in incidents) >= 4
