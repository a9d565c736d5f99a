"""A head as the code that builds it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import nn

from ...objectives.config import HeadConfig
from ...objectives.errors import InvalidInputError
from ...objectives.networks import create_head, initialize_head
from .embedded_sources import embed


@dataclass(frozen=True)
class HeadCode:
    """The code of a head.

    Attributes:
        parts: Classes and functions that are not torch's.
        layers: Expressions that create the layers, in order.
        init: Statement that initializes the layers; empty for torch's own initialization.
    """

    parts: str
    layers: tuple[str, ...]
    init: str


def describe_head(config: HeadConfig, feature_shape: tuple[int, ...], classes: int) -> HeadCode:
    """Return the code of a head.

    Args:
        config: Architecture of the head.
        feature_shape: Shape of one image's features.
        classes: Number of classes.
    """
    with torch.random.fork_rng(devices=[]):
        head = create_head(config, feature_shape, classes)
    own = [type(layer) for layer in head if not _is_torch(layer)]
    initialized = config.init in ("zeros", "xavier", "kaiming")
    return HeadCode(
        parts=embed(*dict.fromkeys(own), *([initialize_head] if initialized else [])),
        layers=tuple(_expression(layer, feature_shape) for layer in head),
        init=f"{initialize_head.__name__}(head, {config.init!r})" if initialized else "",
    )


def _is_torch(layer: nn.Module) -> bool:
    return type(layer).__module__.startswith("torch.nn.")


def _expression(layer: nn.Module, feature_shape: tuple[int, ...]) -> str:
    """Return the expression that creates a layer."""
    name = f"nn.{type(layer).__name__}" if _is_torch(layer) else type(layer).__name__
    match layer:
        case nn.Linear():
            bias = "" if layer.bias is not None else ", bias=False"
            return f"{name}({layer.in_features}, {layer.out_features}{bias})"
        case nn.BatchNorm1d():
            return f"{name}({layer.num_features})"
        case nn.LayerNorm():
            return f"{name}({layer.normalized_shape[0]})"
        case nn.Dropout():
            return f"{name}({layer.p!r})"
    match type(layer).__name__:
        case "GlobalPool":
            return f"GlobalPool({', '.join(map(repr, getattr(layer, 'parts', ())))})"
        case "CosineLinear":
            weight = layer.get_parameter("weight")
            return f"CosineLinear({weight.shape[1]}, {weight.shape[0]})"
        case "AttentionPool":
            return f"AttentionPool({feature_shape!r}, {len(layer.get_parameter('queries'))})"
        case "ToMap":
            return f"ToMap({feature_shape!r})"
    if any(each.default is each.empty for each in inspect.signature(type(layer)).parameters.values()):
        raise InvalidInputError(f"its head has a layer {type(layer).__name__} that a script does not have")
    return f"{name}()"
