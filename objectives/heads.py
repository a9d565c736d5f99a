"""The head: pooling, hidden layers and the output layer that replace a backbone's own classifier."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from .config import HeadConfig


class AvgMaxPool(nn.Module):
    """Concatenated global average and maximum: (N, C, H, W) to (N, 2C) (fastai's AdaptiveConcatPool2d)."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1)


def _global(pool: nn.Module) -> nn.Module:
    return nn.Sequential(pool, nn.Flatten())


POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": lambda: _global(nn.AdaptiveAvgPool2d(1)),
    "max": lambda: _global(nn.AdaptiveMaxPool2d(1)),
    "avgmax": AvgMaxPool,
    "flatten": nn.Flatten,
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def create_head(config: HeadConfig, feature_shape: tuple[int, ...], num_classes: int) -> nn.Sequential:
    """Build a head.

    Args:
        config: Its architecture.
        feature_shape: What the backbone gives for one image: (C, H, W), or (C,) which needs no pooling.
        num_classes: Size of the output.

    Returns:
        A module from (N, *feature_shape) to logits (N, num_classes). Its weights come from torch's global generator.
    """
    layers: list[nn.Module] = [POOLINGS[config.pooling]() if len(feature_shape) == 3 else nn.Flatten()]
    sizes = [_pooled_size(config.pooling, feature_shape), *[config.width] * config.hidden_layers]
    if config.hidden_layers == 0 and config.normalization != "none":
        layers.append(NORMALIZATIONS[config.normalization](sizes[0]))
    for size_in, size_out in pairwise(sizes):
        layers += _hidden_layer(config, size_in, size_out)
    layers += [*_dropout(config), nn.Linear(sizes[-1], num_classes)]
    head = nn.Sequential(*layers)
    _initialise(head, config.init)
    return head


def _pooled_size(pooling: str, feature_shape: tuple[int, ...]) -> int:
    if len(feature_shape) == 1:
        return feature_shape[0]
    channels, height, width = feature_shape
    return {"avgmax": 2 * channels, "flatten": channels * height * width}.get(pooling, channels)


def _dropout(config: HeadConfig) -> list[nn.Module]:
    return [nn.Dropout(config.dropout)] if config.dropout > 0 else []


def _hidden_layer(config: HeadConfig, size_in: int, size_out: int) -> list[nn.Module]:
    normalization = [] if config.normalization == "none" else [NORMALIZATIONS[config.normalization](size_out)]
    return [*_dropout(config), nn.Linear(size_in, size_out), *normalization, ACTIVATIONS[config.activation]()]


def _initialise(head: nn.Sequential, init: str) -> None:
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    if init == "zeros":
        nn.init.zeros_(linears[-1].weight)
        nn.init.zeros_(linears[-1].bias)
    elif init in ("xavier", "kaiming"):
        fill = nn.init.xavier_uniform_ if init == "xavier" else nn.init.kaiming_normal_
        for layer in linears:
            fill(layer.weight)
            nn.init.zeros_(layer.bias)
