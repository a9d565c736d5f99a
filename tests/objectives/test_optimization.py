"""Parameter groups and schedules against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from tiny import pool

from frostline.objectives.config import HeadConfig, create_config
from frostline.objectives.heads import create_head
from frostline.objectives.network import Network
from frostline.objectives.optimization import Optimisation, create_optimizer, parameter_groups
from frostline.objectives.phases import Phase

PHASE = Phase("finetune", 9, 5, 0.02, (0.004,) * 9)


@pytest.fixture
def network() -> Network:
    backbone = pool().fresh(pretrained=True, seed=0)
    head = create_head(HeadConfig(hidden_layers=1, normalization="batch"), backbone.units[-1].output_shape, 3)
    return Network(backbone, PHASE, head)


def test_every_trainable_parameter_is_in_exactly_one_group_and_no_frozen_one_in_any(network: Network):
    held = [id(parameter) for group in parameter_groups(network, 0.1) for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for _, parameter in network.trainable())
    assert len(set(held)) == len(held)
    assert not set(held) & {id(parameter) for parameter in network.prefix.parameters()}


def test_rates_and_decay_by_part_and_shape(network: Network):
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for group in parameter_groups(network, 0.1):
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert group["lr"] == (0.02 if name.startswith("head.") else 0.004)
            assert group["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0), name


@pytest.mark.parametrize(("name", "kind"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_optimizers(network: Network, name: str, kind: type):
    optimizer = create_optimizer(create_config({"strategy": "partial", "optimizer": name}), network)
    assert type(optimizer) is kind
    if name == "sgd":
        assert all(group["momentum"] == 0.9 and group["nesterov"] for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [("constant", lambda t: 1.0), ("linear", lambda t: 1 - t), ("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2)],
)
def test_schedules_after_the_warm_up(network: Network, schedule: str, shape):
    config = create_config({"strategy": "partial", "schedule": schedule, "warmup": 0.2})
    optimisation = Optimisation(config, network, steps=50)
    rates = []
    for _ in range(50):
        rates.append(optimisation.learning_rates()["head"])
        optimisation.step()
    assert rates[:10] == pytest.approx([0.02 * (step + 1) / 11 for step in range(10)])
    assert rates[10:] == pytest.approx([0.02 * shape((step - 10) / 40) for step in range(10, 50)])
