"""Latency against known delays, sizes against hand counts, and served networks against the networks that trained."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from frostline.objectives.config import create_config
from frostline.objectives.finetune import finetune
from frostline.objectives.networks import as_served, measure_latency, measure_serving, size_in_bytes

from ..tiny import own_task

CPU = torch.device("cpu")


class Slow(nn.Module):
    """Takes a known time, but for its first passes, and every tenth, which take much longer."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.passes, self.batches = seconds, 0, set[int]()

    def forward(self, images: Tensor) -> Tensor:
        assert not self.training
        self.passes += 1
        self.batches.add(len(images))
        time.sleep(self.seconds * (10 if self.passes <= 2 or self.passes % 10 == 0 else 1))
        return images


def test_latency_is_the_median_without_the_warm_up() -> None:
    networks = [Slow(0.01), Slow(0.03)]
    quick, slow = measure_latency(networks, 8, CPU, batch=3)
    # A sleep is never shorter; a busy machine makes it longer.
    assert 0.01 <= quick < slow
    assert 0.03 <= slow < 0.15
    assert [network.batches for network in networks] == [{3}, {3}]


def test_size_counts_parameters_and_buffers_once() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(5, 2))
    # Batch norm: weight, bias, mean, variance, and an int64 counter.
    expected = 4 * (3 * 4 * 9 + 4 * 4 + 5 * 2 + 2) + 8
    assert size_in_bytes(network) == expected
    assert size_in_bytes(nn.Sequential(network, network)) == expected


@pytest.mark.parametrize(
    "values",
    [
        {"strategy": "feature_extraction"},
        {"strategy": "feature_extraction", "head.depths": 3},
        {"strategy": "partial", "freeze_depth": 5},
        {"strategy": "partial", "freeze_depth": 5, "head.depths": 3},
        {"strategy": "full", "head.depths": 4},
    ],
    ids=str,
)
def test_a_network_is_served_without_the_padding_of_its_prefix(values: dict[str, object]) -> None:
    task = own_task()
    network = finetune(create_config({**values, "epochs": 1}), task, seed=0).network
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        served = as_served(network).eval()(images)
        torch.testing.assert_close(served, network(images), rtol=1e-4, atol=1e-5)
    assert size_in_bytes(as_served(network)) == sum(
        value.nbytes for value in (*network.backbone_state().values(), *network.head.state_dict().values())
    )


def test_adapters_cost_nothing_once_they_are_merged() -> None:
    task = own_task()
    network = finetune(create_config({"strategy": "lora", "epochs": 1}), task, seed=0).network
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = network(images)
        costs = measure_serving(network, 32, CPU)
        torch.testing.assert_close(network(images), before, rtol=1e-3, atol=1e-4)
    plain = finetune(create_config({"strategy": "full", "epochs": 1}), own_task(), seed=0).network
    assert costs.size == size_in_bytes(as_served(plain))
    assert costs.latency > 0
