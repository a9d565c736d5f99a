"""Networks in bfloat16: what is rounded is what PyTorch's mixed precision rounds, heads and weights stay exact."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frostline.objectives.config import HeadConfig
from frostline.objectives.networks.frozen_prefix import CANONICAL_BATCH, FrozenPrefix, folded_in
from frostline.objectives.networks.heads import FixedPooling, create_head
from frostline.objectives.networks.network import Network
from frostline.objectives.phases import Phase
from frostline.objectives.precision import BFLOAT16, EXACT, FLOAT32, Precision

from ..tiny import fresh_pool

IMAGES = torch.randn(CANONICAL_BATCH, 3, 32, 32, generator=torch.Generator().manual_seed(0))
HALF = Precision.both(BFLOAT16)


def network(depth: int, precision: Precision) -> Network:
    backbone = fresh_pool().fresh(pretrained=True, seed=0)
    units = len(backbone.units)
    rates = (0.1,) * (units - depth)
    torch.manual_seed(0)
    head = create_head(HeadConfig(), backbone.units[-1].output_shape, 3)
    return Network(backbone, Phase("some", depth, 1, 0.1, rates), head, precision).eval()


def test_a_prefix_gives_what_mixed_precision_gives():
    backbone = fresh_pool().fresh(pretrained=True, seed=0)
    part = backbone.segment(0, 5)
    found = FrozenPrefix(part, 5, precision=BFLOAT16)(IMAGES)
    folded = folded_in(part.eval(), FLOAT32)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = folded(IMAGES.contiguous(memory_format=torch.channels_last))
    # Packed convolutions may round differently.
    torch.testing.assert_close(found, expected, rtol=2**-7, atol=2**-7 * float(expected.abs().max()))
    assert found.dtype == torch.bfloat16


def test_pooled_features_are_averages_in_float32():
    backbone = fresh_pool().fresh(pretrained=True, seed=0)
    depth = len(backbone.units)
    maps = FrozenPrefix(backbone.segment(0, depth), depth, precision=BFLOAT16)(IMAGES)
    pooled = FrozenPrefix(
        backbone.segment(0, depth), depth, FixedPooling.average(backbone.units[-1].output_shape), BFLOAT16
    )(IMAGES)
    assert pooled.dtype == torch.float32
    torch.testing.assert_close(pooled, maps.double().mean((2, 3)).float(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("depth", [0, 5, 18])
@pytest.mark.parametrize(
    "precision", [HALF, Precision(BFLOAT16, FLOAT32), Precision(FLOAT32, BFLOAT16)], ids=lambda each: each.sentence
)
def test_logits_and_gradients_are_float32_and_close(depth: int, precision: Precision):
    exact, rounded = network(depth, EXACT), network(depth, precision)
    with torch.no_grad():
        expected, found = exact(IMAGES), rounded(IMAGES)
    assert found.dtype == torch.float32
    # bfloat16 has 8 bits of mantissa; errors of the layers add up.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.05 * float(expected.abs().max()))
    changes = precision.trained == BFLOAT16 if depth == 0 else precision.frozen == BFLOAT16 or depth < 18
    assert torch.equal(found, expected) != changes
    rounded(IMAGES).sum().backward()
    assert {value.grad.dtype for _, value in rounded.trainable() if value.grad is not None} == {torch.float32}
    assert {value.dtype for value in rounded.state_dict().values()} <= {torch.float32, torch.int64}


def test_a_trained_network_can_compute_exactly_again():
    exact, rounded = network(5, EXACT), network(5, HALF)
    with torch.no_grad():
        assert not torch.equal(exact(IMAGES), rounded(IMAGES))
        rounded.compute_in(EXACT)
        assert torch.equal(exact(IMAGES), rounded(IMAGES))


def test_rounded_weights_are_copies():
    part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.LayerNorm([4, 32, 32]))
    rounded = folded_in(part, BFLOAT16)
    assert [value.dtype for value in rounded.parameters()] == [torch.bfloat16] * 2 + [torch.float32] * 2
    assert {value.dtype for value in part.parameters()} == {torch.float32}
    assert folded_in(part, FLOAT32) is part
