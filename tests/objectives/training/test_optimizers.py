"""Parameter groups and schedules against their definitions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest
import timm
import torch
from timm.optim._param_groups import param_groups_weight_decay
from torch import nn

from frostline.objectives.backbones.backbone import cut
from frostline.objectives.backbones.undecayed import undecayed_parameters
from frostline.objectives.config import HeadConfig, create_config
from frostline.objectives.errors import InvalidInputError
from frostline.objectives.networks.heads import create_head
from frostline.objectives.networks.network import Network
from frostline.objectives.phases import Phase
from frostline.objectives.training.optimizers import Optimization, create_optimizer, parameter_groups

from ..tiny import pool

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


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sgd", torch.optim.SGD),
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_optimizers(network: Network, name: str, kind: type):
    optimizer = create_optimizer(create_config({"strategy": "partial", "optimizer": name, "momentum": 0.7}), network)
    assert type(optimizer) is kind
    if name in ("sgd", "rmsprop"):
        assert all(group["momentum"] == 0.7 for group in optimizer.param_groups)
    assert {group["lr"] for group in optimizer.param_groups} == {0.02, 0.004}


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.9, False), (0.0, True)])
def test_sgd_is_what_its_knobs_say(network: Network, momentum: float, nesterov: bool):
    values = {"strategy": "partial", "optimizer": "sgd", "momentum": momentum, "nesterov": nesterov}
    optimizer = create_optimizer(create_config(values), network)
    expected = nesterov and momentum > 0
    assert all((group["momentum"], group["nesterov"]) == (momentum, expected) for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("schedule", "shape"),
    [("constant", lambda t: 1.0), ("linear", lambda t: 1 - t), ("cosine", lambda t: (1 + math.cos(math.pi * t)) / 2)],
)
def test_schedules_after_the_warm_up(network: Network, schedule: str, shape):
    config = create_config({"strategy": "partial", "schedule": schedule, "warmup": 0.2})
    optimization = Optimization(config, network, steps=50)
    rates = []
    for _ in range(50):
        rates.append(optimization.learning_rates()["head"])
        optimization.step()
    assert rates[:10] == pytest.approx([0.02 * (step + 1) / 11 for step in range(10)])
    assert rates[10:] == pytest.approx([0.02 * shape((step - 10) / 40) for step in range(10, 50)])


def rates_of(optimization: Optimization, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        rates.append(optimization.learning_rates()["head"])
        optimization.step()
    return rates


def test_one_cycle_is_torchs(network: Network):
    config = create_config({"strategy": "partial", "schedule": "one_cycle", "warmup": 0.5})
    rates = rates_of(Optimization(config, network, steps=1000), 1000)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=1001, cycle_momentum=False)
    expected = []
    for _ in range(1000):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        cycle.step()
    # The two place their steps half a step apart.
    assert rates == pytest.approx(expected, abs=0.02 * 0.006)
    assert max(rates) == pytest.approx(0.02, rel=1e-4)


def test_step_falls_to_a_tenth_three_times(network: Network):
    config = create_config({"strategy": "partial", "schedule": "step"})
    rates = rates_of(Optimization(config, network, steps=100), 100)
    expected = [0.02] * 30 + [0.002] * 30 + [0.0002] * 30 + [0.00002] * 10
    assert rates == pytest.approx(expected)


def test_clipping_bounds_the_norm_of_all_gradients(network: Network):
    config = create_config({"strategy": "partial", "gradient_clip": 0.5})
    optimization = Optimization(config, network, steps=10)
    for parameter in optimization.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimization.step()
    norm = torch.stack([parameter.grad.norm() for parameter in optimization.parameters() if parameter.grad is not None])
    assert float(norm.norm()) == pytest.approx(0.5, rel=1e-3)


def test_the_average_is_the_recurrence_and_leaves_the_weights(network: Network):
    config = create_config({"strategy": "partial", "ema_decay": 0.9, "optimizer": "sgd"})
    optimization = Optimization(config, network, steps=30)
    _, parameter = network.trainable()[0]
    frozen = {name: value.clone() for name, value in network.prefix.state_dict().items()}
    average = parameter.detach().clone()
    for step in range(1, 25):
        with torch.no_grad():
            parameter.add_(0.1 * step)
        optimization.step()
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay) * parameter.detach()
    live = parameter.detach().clone()
    with optimization.averaged():
        torch.testing.assert_close(parameter.detach(), average)
        assert all(torch.equal(value, frozen[name]) for name, value in network.prefix.state_dict().items())
    assert torch.equal(parameter.detach(), live)


def test_the_average_holds_statistics_that_train_and_no_frozen_tensor(network: Network):
    moving = {id(tensor) for tensor in network.updated_tensors()}
    norms = [module for module in network.suffix.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert all(id(norm.running_mean) in moving and id(norm.running_var) in moving for norm in norms)
    assert not moving & {id(tensor) for tensor in network.prefix.state_dict(keep_vars=True).values()}


# What each of timm's transformers exempts; their names alone do not tell.
SMALL: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"depth": 2, "img_size": 32},
    "vit_base_patch14_reg4_dinov2": {"depth": 2, "img_size": 28, "embed_dim": 64, "num_heads": 2},
    "deit_tiny_distilled_patch16_224": {"depth": 2, "img_size": 32},
    "beit_base_patch16_224": {"depth": 2, "img_size": 32, "embed_dim": 64, "num_heads": 2},
    "eva02_tiny_patch14_224": {"depth": 2, "img_size": 28},
    "cait_xxs24_224": {"depth": 2, "img_size": 32},
    "xcit_nano_12_p16_224": {"depth": 2, "img_size": 32},
    "swin_tiny_patch4_window7_224": {"depths": (1, 1), "img_size": 56, "embed_dim": 24, "num_heads": (2, 2)},
}


def decayed(groups: Iterable[dict[str, Any]]) -> set[int]:
    return {id(parameter) for group in groups if group["weight_decay"] for parameter in group["params"]}


@pytest.mark.parametrize("name", SMALL)
def test_timms_networks_are_decayed_as_timm_decays_them(name: str):
    timm_library: Any = timm
    model = timm_library.create_model(name, pretrained=False, **SMALL[name])
    backbone = cut(name, model.eval(), SMALL[name]["img_size"])
    units = len(backbone.units)
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, 3)
    network = Network(backbone, Phase("finetune", 0, 1, 0.1, (0.1,) * units), head)
    theirs = decayed(param_groups_weight_decay(model, 0.1, no_weight_decay_list=model.no_weight_decay()))
    names = {id(parameter): name for name, parameter in network.named_parameters() if not name.startswith("head.")}
    own = decayed(parameter_groups(network, 0.1)) & names.keys()
    assert {names[each] for each in own} == {names[each] for each in theirs & names.keys()}
    tokens = [each for each in names.values() if each.endswith(("pos_embed", "_token", "bias_table"))]
    assert tokens or name.startswith("xcit"), "something to exempt beside biases and norms"
    assert not {names[each] for each in own} & set(tokens)


class Wrapped(nn.Module):
    """A network of the user's around another one, whose exemptions hold."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.net = inner
        self.scales = nn.Parameter(torch.ones(3, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Asked(nn.Conv2d):
    asked: Any = frozenset({"weigh*"})

    def no_weight_decay(self) -> Any:
        return self.asked


def test_an_inner_module_is_asked_for_what_it_exempts():
    assert undecayed_parameters(Wrapped(nn.Sequential(Asked(3, 4, 3), nn.Conv2d(4, 4, 3)))) == {"net.0.weight"}
    assert undecayed_parameters(Asked(3, 4, 3)) == {"weight"}


@pytest.mark.parametrize("answer", [None, "weight", [3]])
def test_exemptions_that_are_no_names_are_refused(answer: Any):
    network = Asked(3, 4, 3)
    network.asked = answer
    with pytest.raises(InvalidInputError, match=r"no_weight_decay\(\) of Asked returns .* must return the names"):
        undecayed_parameters(network)
