"""The speed probe: sizes as the network has them, seconds that add up, and nothing changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from frostline.objectives import stopwatch
from frostline.objectives.config import BackboneSpec, TrialConfig
from frostline.objectives.finetune import count_trained
from frostline.objectives.networks.backbone_pool import BackbonePool
from frostline.objectives.networks.frozen_prefix import state_hash
from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from frostline.objectives.speed import SpeedProbe
from frostline.objectives.speed_probe import _places, probe_speed

SIZE = Preprocessing(32, 36, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
CONFIGS = [TrialConfig(strategy="full"), TrialConfig(strategy="full", augmentation="flip_crop", views=2)]


@pytest.fixture(scope="module")
def pool() -> BackbonePool:
    return BackbonePool(BackboneSpec("tiny_network:create", "none", 32))


def test_a_probe_measures_every_unit_and_changes_nothing(pool: BackbonePool) -> None:
    before, random = state_hash(pool.pretrained.model.state_dict()), torch.get_rng_state()
    probe = probe_speed(pool, SIZE, CONFIGS, torch.device("cpu"), classes=10, seconds=0.2)
    assert state_hash(pool.pretrained.model.state_dict()) == before == pool.fingerprint
    assert all(value.grad is None for value in pool.pretrained.model.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    units = pool.pretrained.units
    assert [each.parameters for each in probe.units] == [unit.parameters for unit in units]
    assert [each.flops for each in probe.units] == [unit.flops for unit in units]
    for each, unit in zip(probe.units, units, strict=True):
        channels, *maps = unit.output_shape
        assert each.output_bytes == 4 * channels * maps[0] * maps[1]
        assert each.pooled_bytes == 4 * channels
        assert (each.places, each.channels) == (maps[0] * maps[1], channels)
        # Convolution, norm and ReLU keep at least what comes in and what goes out.
        assert each.saved_bytes >= each.output_bytes
        assert each.training > 0
    assert sum(each.training for each in probe.units) > sum(each.forward for each in probe.units) > 0
    assert set(probe.images) == {"none", "flip_crop"}
    assert probe.image_bytes == 4 * 3 * 32 * 32
    assert min(probe.step, probe.per_parameter, probe.start, *probe.images.values()) > 0
    assert SpeedProbe.from_row(probe.to_row()) == probe


@pytest.mark.parametrize(
    ("shape", "places", "channels"),
    [((64, 7, 7), 49, 64), ((7, 14, 96), 98, 96), ((197, 768), 197, 768), ((512,), 1, 512)],
)
def test_places_are_those_of_maps_in_either_order_of_tokens_and_of_vectors(
    shape: tuple[int, ...], places: int, channels: int
) -> None:
    assert _places(shape) == (places, channels)


def test_frozen_parameters_of_an_earlier_network_are_measured_too(pool: BackbonePool) -> None:
    pool.pretrained.model.requires_grad_(False)
    probe = probe_speed(pool, SIZE, CONFIGS[:1], torch.device("cpu"), classes=10, seconds=0.2)
    assert all(each.training > 0 for each in probe.units)


def test_trained_parameters_are_counted_as_they_are_in_the_network(pool: BackbonePool) -> None:
    backbone = sum(unit.parameters for unit in pool.pretrained.units)
    last = pool.pretrained.units[-1]
    head = 10 * (last.output_shape[0] + 1)
    assert count_trained(TrialConfig(strategy="full"), pool, 10) == (backbone + head, backbone + head)
    assert count_trained(TrialConfig(strategy="feature_extraction"), pool, 10) == (head, backbone + head)
    depth = len(pool.pretrained.units) - 1
    partial = TrialConfig(strategy="partial", freeze_depth=depth)
    assert count_trained(partial, pool, 10) == (last.parameters + head, backbone + head)


def test_where_threads_wait_for_each_other_one_is_measured(pool: BackbonePool, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    def held_up(work: Callable[[], object], device: torch.device) -> float:
        work()
        threads.append(torch.get_num_threads())
        return 1.0 if torch.get_num_threads() > 1 else 0.01

    monkeypatch.setattr(stopwatch, "seconds_of", held_up)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        probe = probe_speed(pool, SIZE, CONFIGS[:1], torch.device("cpu"), classes=10)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1, 2}
    assert {probe.step, *(16 * each for each in probe.images.values())} == {0.01}
