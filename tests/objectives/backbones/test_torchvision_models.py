"""Every model of torchvision, at the smallest images that it takes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from frostline.objectives.backbones.backbone import Backbone, create_backbone
from frostline.objectives.backbones.torchvision_models import backbone_names, backbone_table
from frostline.objectives.config import BackboneSpec

from .initialization import no_initialization
from .test_backbone import images

# One model of each family, the smallest; two of ResNets, whose blocks are of two kinds. The other 58 have the same
# modules more often or wider: what a cut could do wrong in one of them, it does wrong here. They are slow, as are four
# large ones that are built much as others: as alexnet, googlenet, swin_t and efficientnet_b0.
FAMILIES = {
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "mnasnet0_5", "mobilenet_v2"),
    *("mobilenet_v3_small", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d"),
    *("shufflenet_v2_x0_5", "squeezenet1_1", "swin_t", "swin_v2_t", "vit_b_32"),
}

SMALLEST = {info.name: info.min_image_size for info in backbone_table()}


def features(n: int, pattern: str = "features.{}", start: int = 0) -> list[str]:
    return [pattern.format(index) for index in range(start, start + n)]


def stages(*lengths: int, pattern: str, start: int = 1) -> list[str]:
    return [pattern.format(s, i) for s, n in enumerate(lengths, start=start) for i in range(n)]


UNITS: dict[str, list[str]] = {
    "resnet18": ["conv1", *stages(2, 2, 2, 2, pattern="layer{}.{}")],
    "resnet50": ["conv1", *stages(3, 4, 6, 3, pattern="layer{}.{}")],
    "mobilenet_v2": features(19),
    "mobilenet_v3_small": features(13),
    "efficientnet_b0": ["features.0", *stages(1, 2, 2, 3, 3, 4, 1, pattern="features.{}.{}"), "features.8"],
    "densenet121": [
        "features.conv0",
        *(f"features.{kind}{i}" for i in (1, 2, 3) for kind in ("denseblock", "transition")),
        "features.denseblock4",
    ],
    "vit_b_32": ["conv_proj", *features(12, "encoder.layers.encoder_layer_{}")],
    "swin_t": [
        "features.0",
        *features(2, "features.1.{}"),
        "features.2",
        *features(2, "features.3.{}"),
        "features.4",
        *features(6, "features.5.{}"),
        "features.6",
        *features(2, "features.7.{}"),
    ],
    "convnext_tiny": [
        "features.0",
        *features(3, "features.1.{}"),
        "features.2",
        *features(3, "features.3.{}"),
        "features.4",
        *features(9, "features.5.{}"),
        "features.6",
        *features(3, "features.7.{}"),
    ],
    "squeezenet1_1": [f"features.{i}" for i in (0, 3, 4, 6, 7, 9, 10, 11, 12)],
    "shufflenet_v2_x0_5": ["conv1", *stages(4, 8, 4, pattern="stage{}.{}", start=2), "conv5"],
    "regnet_y_400mf": [
        "stem",
        *(f"trunk_output.block{s}.block{s}-{i}" for s, n in enumerate((1, 3, 6, 6), start=1) for i in range(n)),
    ],
    "inception_v3": [
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        *(f"Mixed_5{x}" for x in "bcd"),
        *(f"Mixed_6{x}" for x in "abcde"),
        *(f"Mixed_7{x}" for x in "abc"),
    ],
    "maxvit_t": [
        "stem.0",
        "stem.1",
        *(
            f"blocks.{s}.layers.{i}.layers.{layer}"
            for s, n in enumerate((2, 2, 5, 2))
            for i in range(n)
            for layer in ("MBconv", "window_attention", "grid_attention")
        ),
    ],
}


@torch.no_grad()
def fill(model: nn.Module) -> None:
    """Cheap weights that keep activations finite and distinct: one random pattern, repeated."""
    pattern = torch.randn(4099, generator=torch.Generator().manual_seed(0))
    for name, parameter in model.named_parameters():
        values = pattern.repeat(parameter.numel() // len(pattern) + 1)[: parameter.numel()].view_as(parameter)
        if parameter.ndim > 1:
            parameter.copy_(values).mul_(max(1, parameter[0].numel()) ** -0.5)
        else:
            parameter.copy_(values).mul_(0.1).add_(1.0 if name.endswith("weight") else 0.0)


def build(name: str) -> Backbone:
    with no_initialization():
        backbone = create_backbone(BackboneSpec(name, "none", SMALLEST[name]))
    fill(backbone.model)
    return backbone


KINDS = {
    "resnet50": (1, "Bottleneck"),
    "mobilenet_v2": (2, "InvertedResidual"),
    "squeezenet1_1": (1, "Fire"),
    "vit_b_32": (3, "EncoderBlock"),
    "inception_v3": (5, "InceptionA"),
    "maxvit_t": (3, "PartitionAttentionLayer"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n not in FAMILIES)) for n in backbone_names()]
)
@torch.no_grad()
def test_every_model_cuts_and_the_halves_make_the_whole(name: str) -> None:
    """And what else is said of a model: it is built and cut once."""
    backbone = build(name)
    if name in UNITS:
        assert [unit.name for unit in backbone.units] == UNITS[name]
    if name in KINDS:
        place, kind = KINDS[name]
        assert backbone.units[place].kind == kind
    if name == "maxvit_t":  # It takes images of 224 pixels; where others end is in test_units.py.
        assert backbone.units[-1].output_shape == (512, 7, 7)
    assert_halves_make_the_whole(backbone, images(SMALLEST[name]))
    assert_partition(backbone)
    assert_nothing_stays_on_the_cpu(backbone, SMALLEST[name])


def assert_halves_make_the_whole(backbone: Backbone, x: Tensor) -> None:
    whole = backbone.model(x)
    n = len(backbone.units)
    assert n >= 5
    assert torch.isfinite(whole).all()
    assert not torch.equal(whole[0], whole[1])
    for depth in (1, n // 2, n):
        features = backbone.segment(0, depth)(x)
        before = features.clone()
        assert features.shape[1:] == backbone.units[depth - 1].output_shape
        assert torch.equal(backbone.segment(depth)(features), whole)
        assert torch.equal(features, before), "a suffix wrote to the features that it was given"


def assert_partition(backbone: Backbone) -> None:
    n = len(backbone.units)
    parts = [[id(p) for p in backbone.segment(i, i + 1).parameters()] for i in range(n)]
    parts.append([id(p) for p in backbone.segment(n).parameters()])
    every = [p for part in parts for p in part]
    assert len(every) == len(set(every))
    assert set(every) == {id(p) for p in backbone.model.parameters()}


def assert_nothing_stays_on_the_cpu(backbone: Backbone, size: int) -> None:
    """The meta device stands in for a GPU: an operation that mixes it with a CPU tensor fails the same way."""
    moved = backbone.to("meta")
    middle = len(moved.units) // 2
    features = moved.segment(0, middle)(torch.empty(2, 3, size, size, device="meta"))
    output = moved.segment(middle, len(moved.units))(features)
    assert output.device.type == "meta"
    assert output.shape[1:] == moved.units[-1].output_shape
