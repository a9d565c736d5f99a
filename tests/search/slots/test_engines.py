"""Where the slots of this machine run, and how they share its GPUs and its cache."""

from __future__ import annotations

import os

import pytest
import torch

from frostline.search.slots import Resources
from frostline.search.slots.engines import create_engine


def test_without_a_gpu_there_is_one_place_or_as_many_as_wished(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [place.threads for place in create_engine(Resources()).places()] == [8]
    places = create_engine(Resources(workers=3)).places()
    assert [(place.device, place.threads) for place in places] == [("auto", 2)] * 3
    assert places[0].environment == {"OMP_NUM_THREADS": "2"}
    assert [place.threads for place in create_engine(Resources(workers=20)).places()] == [1] * 20


@pytest.mark.parametrize(
    ("visible", "resources", "expected"),
    [
        (None, Resources(), ["0", "1"]),
        ("3,5", Resources(), ["3", "5"]),
        ("3,5", Resources(slots_per_gpu=2), ["3", "5", "3", "5"]),
        ("3,5", Resources(workers=3), ["3", "5", "3"]),
        ("3,5", Resources("cuda:1"), None),
        ("3,5", Resources("cpu"), None),
    ],
)
def test_gpus_are_shared_out(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, resources: Resources, expected: list[str] | None
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    places = create_engine(resources).places()
    if expected is None:
        assert [place.device for place in places] == [resources.device]
    else:
        assert [place.environment["CUDA_VISIBLE_DEVICES"] for place in places] == expected
        assert {place.device for place in places} == {"cuda"}


def test_slots_share_the_cache_budget() -> None:
    def share(resources: Resources, slots: int) -> int:
        found = create_engine(resources).share(slots)
        assert found is not None
        return found

    assert share(Resources("cpu", "200MB", 4), 4) == 200 * 10**6 // 4
    assert share(Resources("cpu", "auto", 4), 4) * 4 == pytest.approx(share(Resources("cpu"), 1), rel=0.2)
    assert share(Resources("cpu", "0"), 2) == 0
