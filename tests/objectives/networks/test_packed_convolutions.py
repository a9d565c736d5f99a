"""Packed convolutions: what the modules compute one after the other, up to rounding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn

from frostline.objectives.backbones.backbone import create_backbone
from frostline.objectives.config import BackboneSpec
from frostline.objectives.devices import has_bfloat16
from frostline.objectives.networks import packed_convolutions
from frostline.objectives.networks.frozen_prefix import folded_in
from frostline.objectives.networks.packed_convolutions import PackedConvolution, pack
from frostline.objectives.precision import BFLOAT16, FLOAT32

pytestmark = pytest.mark.skipif(not packed_convolutions._available(), reason="PyTorch has no packed convolutions here")


def random_images(count: int = 4, channels: int = 3) -> Tensor:
    images = torch.randn(count, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    return images.contiguous(memory_format=torch.channels_last)


def computed(network: nn.Module, images: Tensor, precision: str = FLOAT32) -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == BFLOAT16):
        return network(images)


def packed(network: nn.Module) -> list[PackedConvolution]:
    return [module for module in network.modules() if isinstance(module, PackedConvolution)]


def assert_close(found: Tensor, expected: Tensor, precision: str = FLOAT32) -> None:
    # bfloat16 has 8 bits of mantissa, float32 24; some layers follow on each other.
    largest = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=largest * (2**-5 if precision == BFLOAT16 else 2**-16))


@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "squeezenet1_1", "regnet_y_400mf"])
def test_features_are_the_same_up_to_rounding(name: str, precision: str) -> None:
    backbone = create_backbone(BackboneSpec(name, "none", 32))
    plain = folded_in(backbone.segment(0, len(backbone.units)).eval(), precision)
    network = pack(plain)
    assert bool(packed(network)) == (precision == FLOAT32 or has_bfloat16(torch.device("cpu")))
    for images in (random_images(), random_images(2), random_images()):
        assert_close(computed(network, images, precision), computed(plain, images, precision), precision)


def test_a_cpu_without_bfloat16_computes_it_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """There oneDNN raises: a CPU with AVX2 alone."""
    monkeypatch.setattr(packed_convolutions, "has_bfloat16", lambda device: False)
    backbone = create_backbone(BackboneSpec("squeezenet1_1", "none", 32))
    plain = folded_in(backbone.segment(0, len(backbone.units)).eval(), BFLOAT16)
    network = pack(plain)
    assert not packed(network)
    images = random_images()
    assert torch.equal(computed(network, images, BFLOAT16), computed(plain, images, BFLOAT16))
    assert packed(pack(folded_in(backbone.segment(0, len(backbone.units)).eval(), FLOAT32)))


@pytest.mark.parametrize(
    ("layer", "fits"),
    [
        (lambda: nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=4), True),
        (lambda: nn.Conv2d(8, 8, 3, dilation=2, bias=False), True),
        (lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"), False),
        (lambda: nn.Conv2d(8, 8, 3, padding="same"), False),
        (lambda: nn.Conv2d(8, 8, 3).double(), False),
        (lambda: type("Own", (nn.Conv2d,), {})(8, 8, 3), False),
    ],
)
def test_only_plain_convolutions_are_packed(layer: Callable[[], nn.Module], fits: bool) -> None:
    network = fx.symbolic_trace(nn.Sequential(layer(), nn.ReLU()))
    network.eval()
    images = random_images(channels=8).to(next(network.parameters()).dtype)
    assert bool(packed(pack(network))) == fits
    assert_close(computed(pack(network), images), computed(network, images))


class Shared(nn.Module):
    """Uses a convolution's output twice, and the convolution too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.relu(y) + y + self.relu(self.conv(2 * x))


def test_outputs_that_are_used_twice_stay() -> None:
    network = fx.symbolic_trace(Shared()).eval()
    assert_close(computed(pack(network), random_images()), computed(network, random_images()))


def test_where_pytorch_has_none_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_convolutions, "_available", lambda: False)
    network = fx.symbolic_trace(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())).eval()
    assert pack(network) is network
    assert pack(nn.Conv2d(3, 4, 1)) is not None
