from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from frostline.objectives.backbones.backbone import Backbone, create_backbone
from frostline.objectives.backbones.cuts import find_cuts
from frostline.objectives.backbones.tracing import trace
from frostline.objectives.backbones.units import divide
from frostline.objectives.config import BackboneSpec

from .initialization import no_initialization


@cache
def backbone(name: str, image_size: int = 224) -> Backbone:
    with no_initialization():
        return create_backbone(BackboneSpec(name, "none", image_size))


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
    "vgg16": [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)],
    "densenet121": [
        "features.conv0",
        *(f"features.{kind}{i}" for i in (1, 2, 3) for kind in ("denseblock", "transition")),
        "features.denseblock4",
    ],
    "vit_b_16": ["conv_proj", *features(12, "encoder.layers.encoder_layer_{}")],
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

ENDS = {
    "resnet18": (512, 7, 7),
    "densenet121": (1024, 7, 7),
    "vgg16": (512, 7, 7),
    "vit_b_16": (768,),
    "swin_t": (768, 7, 7),
    "convnext_tiny": (768, 7, 7),
    "squeezenet1_1": (512, 13, 13),
    "maxvit_t": (512, 7, 7),
    "inception_v3": (2048, 5, 5),
}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_the_blocks_of_the_model(name: str) -> None:
    assert [unit.name for unit in backbone(name).units] == UNITS[name]


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "swin_t", "shufflenet_v2_x0_5", "maxvit_t"])
def test_segments_hold_nothing_that_stays_on_the_cpu(name: str) -> None:
    """The meta device stands in for a GPU: an operation that mixes it with a CPU tensor fails the same way."""
    moved = copy.deepcopy(backbone(name)).to("meta")
    middle = len(moved.units) // 2
    features = moved.segment(0, middle)(torch.empty(2, 3, 224, 224, device="meta"))
    output = moved.segment(middle, len(moved.units))(features)
    assert output.device.type == "meta"
    assert output.shape[1:] == moved.units[-1].output_shape


@pytest.mark.parametrize("name", ENDS)
def test_the_backbone_ends_at_the_last_map_before_pooling(name: str) -> None:
    assert backbone(name).units[-1].output_shape == ENDS[name]


def test_densenet_ends_after_its_last_activation() -> None:
    assert backbone("densenet121").segment(0, 8).code.rstrip().endswith("return relu")


@pytest.mark.parametrize(
    ("name", "unit", "kind"),
    [
        ("resnet50", 1, "Bottleneck"),
        ("mobilenet_v2", 2, "InvertedResidual"),
        ("squeezenet1_1", 1, "Fire"),
        ("vit_b_16", 3, "EncoderBlock"),
        ("inception_v3", 5, "InceptionA"),
        ("maxvit_t", 3, "PartitionAttentionLayer"),
    ],
)
def test_kinds(name: str, unit: int, kind: str) -> None:
    assert backbone(name).units[unit].kind == kind


def test_parameters_of_a_unit_include_its_norms() -> None:
    model = get_model("resnet18", weights=None)
    stem, block = backbone("resnet18").units[:2]
    assert stem.parameters == model.get_parameter("conv1.weight").numel() + 2 * 64
    assert block.parameters == sum(p.numel() for p in model.get_submodule("layer1.0").parameters())


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "swin_t", "densenet121", "mobilenet_v3_small"])
def test_operations_agree_with_the_published_count(name: str) -> None:
    published = 2e9 * next(iter(get_model_weights(name))).meta["_ops"]
    whole = find_cuts(trace(backbone(name).model, 224), 224)[-1].flops
    assert whole == pytest.approx(published, rel=0.02)
    assert sum(unit.flops for unit in backbone(name).units) == pytest.approx(whole, rel=0.04)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2)


def sequence(*modules: Callable[[], nn.Module]) -> nn.Sequential:
    return nn.Sequential(*(make() for make in modules))


class Encoder(nn.Module):
    """A forward of its own around a list of blocks."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.layers, self.norm = nn.ModuleList(Residual() for _ in range(blocks)), nn.LayerNorm(2)


@pytest.mark.parametrize(
    ("model", "parts"),
    [
        (sequence(Residual, nn.ReLU), ["0", "1"]),
        (nn.Sequential(sequence(lambda: nn.Linear(2, 2), nn.ReLU)), ["0"]),
        (nn.Sequential(sequence(lambda: nn.Linear(2, 2), lambda: nn.Linear(2, 2))), ["0.0", "0.1"]),
        (nn.Sequential(nn.Sequential(sequence(Residual))), ["0.0.0"]),
        (nn.Sequential(Encoder(2)), ["0.layers.0", "0.layers.1", "0.norm"]),
        (nn.Sequential(Encoder(1)), ["0"]),
    ],
)
def test_division_follows_from_the_module_tree(model: nn.Module, parts: list[str]) -> None:
    assert list(divide(model)) == parts
