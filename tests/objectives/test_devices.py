"""The clock of a device against sleeping and working processes."""

from __future__ import annotations

import time

import pytest
import torch

from frostline.objectives.devices import DeviceClock


def test_a_process_that_sleeps_uses_no_processor_and_one_that_works_uses_one() -> None:
    asleep = DeviceClock(torch.device("cpu"))
    time.sleep(0.2)
    assert asleep.share() < 0.3
    working, began, busy = DeviceClock(torch.device("cpu")), time.perf_counter(), time.process_time()
    while time.process_time() - busy < 0.2:
        pass
    # On a busy machine it takes longer, and uses as much.
    assert working.share() * (time.perf_counter() - began) == pytest.approx(0.2, rel=0.2)


def test_a_gpu_is_held_by_its_training() -> None:
    clock = DeviceClock(torch.device("cuda"))
    time.sleep(0.01)
    assert clock.share() == 1.0
