"""GPUs as NVML tells of them; what it does not tell is left out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import NoReturn

import pynvml
import pytest

from frostline.search.tracking.nvml import GpuUse, open_nvml

LIBRARY_NOT_FOUND = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
NOT_SUPPORTED = pynvml.NVML_ERROR_NOT_SUPPORTED
GPU_IS_LOST = pynvml.NVML_ERROR_GPU_IS_LOST


def fail(code: int) -> NoReturn:
    raise pynvml.NVMLError(code)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three GPUs: the second does not tell how busy it is, the third is lost."""
    uuids = ["GPU-a", "GPU-b", "GPU-c"]
    busy = [87, None, 5]
    fakes = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 3,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuids.index(uuid) if uuid in uuids else fail(NOT_SUPPORTED),
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUtilizationRates": lambda handle: (
            fail(NOT_SUPPORTED) if busy[handle] is None else SimpleNamespace(gpu=busy[handle], memory=1)
        ),
        "nvmlDeviceGetMemoryInfo": lambda handle: (
            fail(GPU_IS_LOST) if handle == 2 else SimpleNamespace(total=8000, free=6000, used=2000)
        ),
    }
    for name, fake in fakes.items():
        assert callable(getattr(pynvml, name))
        monkeypatch.setattr(pynvml, name, fake)


@pytest.mark.usefixtures("gpus")
def test_gpus_tell_what_they_do() -> None:
    nvml = open_nvml()
    assert nvml is not None
    assert nvml.uses() == [GpuUse(0.87, 2000, 8000), GpuUse(None, 2000, 8000)]


@pytest.mark.usefixtures("gpus")
def test_a_gpu_is_found_by_its_uuid() -> None:
    nvml = open_nvml()
    assert nvml is not None
    assert nvml.busy(nvml.handle("GPU-a")) == 0.87
    assert nvml.busy(nvml.handle("GPU-b")) is None
    assert nvml.handle("GPU-elsewhere") is None


@pytest.mark.usefixtures("gpus")
def test_a_driver_that_fails_later_tells_of_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = open_nvml()
    assert nvml is not None
    monkeypatch.setattr(pynvml, "nvmlDeviceGetCount", lambda: fail(GPU_IS_LOST))
    assert nvml.uses() == []


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: fail(LIBRARY_NOT_FOUND))
    assert open_nvml() is None


def test_this_machine_tells_what_it_has() -> None:
    nvml = open_nvml()
    # With a driver or without one, nothing is raised.
    assert nvml is None or all(0 <= use.used_bytes <= use.total_bytes for use in nvml.uses())
