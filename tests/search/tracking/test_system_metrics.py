"""The machine's metrics: plausible, in the runs of trainings only, and none for a training that is soon over."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from frostline.search.tracking.system_metrics import Readings, sampled
from frostline.storage.timing import Timing
from frostline.storage.tracking.journal import Journal
from frostline.storage.tracking.journal_records import STEP
from frostline.storage.tracking.study_mark import StudyMark
from frostline.storage.tracking.tracker import StudyTracker
from frostline.storage.workspace import Workspace

CPU = torch.device("cpu")
# No store answers there, so that the journal keeps all records.
NOWHERE = "http://127.0.0.1:9"


def test_readings_tell_what_the_process_does() -> None:
    readings, ballast = Readings(CPU), bytearray(200 * 10**6)
    began = time.process_time()
    while time.process_time() - began < 0.3:
        pass
    busy = readings.take()
    time.sleep(0.3)
    idle = readings.take()
    assert len(ballast) / 1e6 < busy["system/process_memory_megabytes"] < 50_000
    assert idle["system/process_cpu_percentage"] < 30
    assert busy["system/process_cpu_percentage"] > idle["system/process_cpu_percentage"]
    assert all(0 <= value <= 100 for name, value in idle.items() if name.startswith("system/system_memory_usage_p"))


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc on this system")
def test_readings_are_those_of_the_kernel() -> None:
    readings = Readings(CPU)
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    used = 1.024e-3 * (kilobytes["MemTotal"] - kilobytes["MemAvailable"])
    time.sleep(0.1)
    values = readings.take()
    assert values["system/system_memory_usage_megabytes"] == pytest.approx(used, abs=500)
    assert 0 <= values["system/cpu_utilization_percentage"] <= 100


def test_trainings_get_samples_and_short_ones_none(tmp_path: Path, sender_in_process: Any) -> None:
    workspace, notes = Workspace(tmp_path, timing=Timing(send_patience=0.1)), []
    tracker = StudyTracker(NOWHERE, workspace, StudyMark("study", "id"), {}, notes.append, sender_in_process)
    with closing(tracker), sampled(tracker, CPU, interval=0.1):
        tracker.run("strategy-full", "finals full", {}, {})
        tracker.run("trial-0", "000", {}, {}).finish("FINISHED")
        tracker.run("trial-1", "001", {}, {})
        tracker.run("final-full-1-1000", "final", {}, {})
        time.sleep(0.75)
    steps = [each for each in Journal(workspace.journal("study")).unsent().records if each.kind == STEP]
    assert {each.key for each in steps} == {"trial-1", "final-full-1-1000"}
    assert 2 <= len(steps) <= 14
    assert all(name.startswith("system/") for each in steps for name in each.content["metrics"])
