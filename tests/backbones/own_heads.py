"""A user's heads, importable as a user's own file is."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

number = 3


def average(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """The default head, in torch's words."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(feature_shape[0], num_classes))


def product_pooling(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    """The default head, of the same modules."""
    from frostline.objectives.networks.heads import GlobalPool

    return nn.Sequential(GlobalPool("avg"), nn.Linear(feature_shape[0], num_classes))


class Gated(nn.Module):
    """A head whose layers are in no row, with two names for one weight."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm, self.gate = nn.BatchNorm2d(channels), nn.Conv2d(channels, 1, 1)
        self.drop, self.out = nn.Dropout(0.1), nn.Linear(channels, classes)
        self.again = self.out

    def forward(self, features: Tensor) -> Tensor:
        gates = self.gate(self.norm(features)).flatten(2).softmax(dim=2)
        return self.again(self.drop((gates * features.flatten(2)).sum(dim=2)))


def gated(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return Gated(feature_shape[0], num_classes)


class Doubled(nn.Sequential):
    """No mere row of layers."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Squared(nn.Flatten):
    """No mere flattening, under the same description."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) ** 2


def doubled(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return Doubled(*average(feature_shape, num_classes).children())


def squared(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), Squared(), nn.Linear(feature_shape[0], num_classes))


def lazy(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


@functools.cache
def kept(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return average(feature_shape, num_classes)


def one_logit(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return average(feature_shape, 1)


def no_module(feature_shape: tuple[int, ...], num_classes: int) -> Any:
    return torch.zeros(num_classes)


def no_parameters(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.AdaptiveAvgPool1d(num_classes))


def too_narrow(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    return nn.Linear(1, num_classes)


def raises(feature_shape: tuple[int, ...], num_classes: int) -> nn.Module:
    raise RuntimeError("no head today")
