"""Several workers on one database whose server is restarted in mid-search. A short run of benchmarks/workers.py."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import workers

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
def test_every_worker_waits_for_a_server_that_is_restarted_and_no_trial_is_lost_or_doubled() -> None:
    options = argparse.Namespace(
        workers=4, trials=80, milliseconds=5.0, sampler="random", database="postgres", restart=True
    )
    report, good = workers.measure(options)
    assert good, report.markdown()
    assert "4 workers went on" in report.markdown()
