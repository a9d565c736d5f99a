from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from torch import nn
from torchvision.models import get_model, get_model_weights

from frostline.objectives.backbones.backbone import Backbone, create_backbone
from frostline.objectives.backbones.units import divide
from frostline.objectives.config import BackboneSpec

from .initialization import no_initialization


@cache
def backbone(name: str) -> Backbone:
    with no_initialization():
        return create_backbone(BackboneSpec(name, "none", 224))


ENDS = {
    "resnet18": (512, 7, 7),
    "densenet121": (1024, 7, 7),
    "vgg16": (512, 7, 7),
    "vit_b_16": (768,),
    "swin_t": (768, 7, 7),
    "convnext_tiny": (768, 7, 7),
    "squeezenet1_1": (512, 13, 13),
    "inception_v3": (2048, 5, 5),
}


# Without blocks and of blocks; those of more models are in test_torchvision_models.py.
UNITS = {
    "vgg16": [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)],
    "vit_b_16": ["conv_proj", *(f"encoder.layers.encoder_layer_{i}" for i in range(12))],
}


@pytest.mark.parametrize("name", UNITS)
def test_units_are_the_blocks_of_the_model(name: str) -> None:
    assert [unit.name for unit in backbone(name).units] == UNITS[name]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "inception_v3" else []) for name in ENDS]
)
def test_the_backbone_ends_at_the_last_map_before_pooling(name: str) -> None:
    assert backbone(name).units[-1].output_shape == ENDS[name]


def test_densenet_ends_after_its_last_activation() -> None:
    assert backbone("densenet121").segment(0, 8).code.rstrip().endswith("return relu")


def test_parameters_of_a_unit_include_its_norms() -> None:
    model = get_model("resnet18", weights=None)
    stem, block = backbone("resnet18").units[:2]
    assert stem.parameters == model.get_parameter("conv1.weight").numel() + 2 * 64
    assert block.parameters == sum(p.numel() for p in model.get_submodule("layer1.0").parameters())


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "swin_t", "densenet121", "mobilenet_v3_small"])
def test_operations_agree_with_the_published_count(name: str) -> None:
    published = 2e9 * next(iter(get_model_weights(name))).meta["_ops"]
    whole = backbone(name)._bounds[-1].flops
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
