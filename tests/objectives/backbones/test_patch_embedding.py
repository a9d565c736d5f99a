"""Which networks begin with a patch embedding."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from torch import nn
from torchvision.models import VisionTransformer
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer

from frostline.objectives.backbones.backbone import cut
from frostline.objectives.backbones.patch_embedding import embeds_patches

patch_network: Any = importlib.import_module("patch_network")
tiny_network: Any = importlib.import_module("tiny_network")


def convnext() -> ConvNeXt:
    return ConvNeXt([CNBlockConfig(8, 16, 2), CNBlockConfig(16, None, 2)])


def swin() -> SwinTransformer:
    return SwinTransformer([4, 4], 8, [2, 2], [2, 4], [4, 4])


def stem_of_resnet() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(1568, 2)
    )


@pytest.mark.parametrize(
    ("network", "expected", "first"),
    [
        (
            lambda: VisionTransformer(32, 8, 2, 2, 16, 32),
            True,
            {"conv_proj.weight", "conv_proj.bias", "class_token", "encoder.pos_embedding"},
        ),
        (patch_network.create, True, None),
        (convnext, True, {f"features.0.{place}.{kind}" for place in "01" for kind in ("weight", "bias")}),
        (swin, True, {f"features.0.{place}.{kind}" for place in "02" for kind in ("weight", "bias")}),
        (stem_of_resnet, False, None),
        (tiny_network.create, False, None),
    ],
)
def test_vision_transformers_and_their_kin_begin_with_one(network, expected, first):
    backbone = cut("network", network(), 32)
    assert backbone.embeds_patches is expected
    if first:
        assert set(next(iter(backbone.unit_tensors().values()))) == first


@pytest.mark.parametrize(
    "unit",
    [
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(3, 8, 7, stride=4, padding=2),
        nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Conv2d(8, 8, 1)),
        nn.Sequential(nn.Flatten(), nn.Linear(48, 8)),
        nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8)),
    ],
)
def test_other_first_units_are_none(unit: nn.Module):
    assert not embeds_patches(unit)


def test_a_network_of_one_unit_has_nothing_behind_its_embedding():
    model = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.Flatten(), nn.Linear(512, 2))
    assert not cut("one", model, 32).embeds_patches


def test_a_whole_transformer_is_no_embedding():
    assert not embeds_patches(VisionTransformer(32, 8, 1, 2, 16, 32))
