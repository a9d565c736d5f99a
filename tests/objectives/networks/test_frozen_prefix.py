"""Frozen means frozen, and a feature is the same number in whatever batch it is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frostline.objectives.config import HeadConfig
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.networks import frozen_prefix
from frostline.objectives.networks.frozen_prefix import CANONICAL_BATCH, FrozenPrefix, state_hash
from frostline.objectives.networks.heads import create_head
from frostline.objectives.networks.network import Network
from frostline.objectives.phases import Phase
from frostline.objectives.training.certificate import certify

from ..tiny import pool


def prefix(depth: int) -> FrozenPrefix:
    return FrozenPrefix(pool().fresh(pretrained=True, seed=0).segment(0, depth), depth)


def network(depth: int, batch_norm: str = "train") -> Network:
    backbone = pool().fresh(pretrained=True, seed=0)
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, 3)
    rates = (0.1,) * (len(backbone.units) - depth)
    return Network(backbone, Phase("finetune", depth, 1, 0.1, rates, batch_norm), head)


@pytest.mark.parametrize("position", range(3))
def test_the_hash_sees_every_parameter_and_buffer(position: int):
    module = nn.BatchNorm2d(4)
    tensor = [module.weight.data, module.running_mean, module.num_batches_tracked][position]
    before = state_hash(module.state_dict())
    assert state_hash(module.state_dict()) == before
    assert tensor is not None
    tensor.add_(1)
    assert state_hash(module.state_dict()) != before


def test_a_moved_frozen_statistic_fails_the_check():
    net = network(4)
    assert certify(net, None).passed
    buffer = next(value for name, value in net.prefix.named_buffers() if name.endswith("running_mean"))
    buffer[0] += 1e-7
    check = certify(net, None)
    assert not check.passed
    with pytest.raises(TrainingFailedError, match=r"frozen units changed during phase 'finetune' \(depth 4\)"):
        check.require()


def test_train_leaves_the_prefix_in_evaluation_mode_and_without_gradients():
    net = network(9)
    for _ in range(2):
        net.train()
        assert not any(module.training for module in net.prefix.prefix.modules())
    assert any(module.training for module in net.suffix.modules() if isinstance(module, nn.BatchNorm2d))
    net(torch.randn(4, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is None for parameter in net.prefix.parameters())
    assert all(parameter.grad is not None for _, parameter in net.trainable())


def test_batch_norm_eval_concerns_batch_norms_of_the_suffix_only():
    net = network(0, "eval").train()
    norms = [module for module in net.suffix.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert all(norm.weight.requires_grad for norm in norms)
    assert net.head.training


@pytest.mark.parametrize("count", [1, 2, 7, CANONICAL_BATCH - 1, CANONICAL_BATCH, CANONICAL_BATCH + 1, 70])
def test_features_are_bit_identical_in_any_batch(count: int):
    frozen = prefix(12)
    images = torch.randn(80, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = frozen(images)
    assert whole.shape[0] == 80
    picked = torch.randperm(80, generator=torch.Generator().manual_seed(1))[:count]
    assert torch.equal(frozen(images[picked]), whole[picked])


@pytest.mark.parametrize(("precision", "packed"), [("float32", 0), ("bfloat16", 1)])
def test_convolutions_are_packed_in_bfloat16_alone(
    precision: str, packed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[nn.Module] = []
    monkeypatch.setattr(frozen_prefix, "pack", lambda module: seen.append(module) or module)
    frozen_prefix.as_run(pool().fresh(pretrained=True, seed=0).segment(0, 1), precision)
    assert len(seen) == packed


def test_depth_zero_passes_images_through():
    images = torch.randn(3, 3, 32, 32)
    assert prefix(0)(images) is images


def test_the_prefix_agrees_with_the_model_it_was_cut_from_up_to_rounding():
    backbone = pool().fresh(pretrained=True, seed=0)
    images = torch.randn(CANONICAL_BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        suffix = backbone.segment(7, None).eval()
        whole = backbone.model.eval()(images)
        assert (suffix(prefix(7)(images)) - whole).abs().max() <= 1e-6 * whole.abs().max()
