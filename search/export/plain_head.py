"""A head as the code that builds it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ...objectives.backbones import Backbone
from ...objectives.config import HeadConfig
from ...objectives.errors import InvalidInputError
from ...objectives.networks import DepthPool, head_for, initialize_head
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


def describe_head(config: HeadConfig, backbone: Backbone, classes: int) -> HeadCode:
    """Return the code of a head.

    Args:
        config: Architecture of the head.
        backbone: Backbone whose features it sees.
        classes: Number of classes.
    """
    with torch.random.fork_rng(devices=[]):
        head = head_for(backbone, config, classes)
    own = [type(layer) for layer in _layers(head) if not _is_torch(layer)]
    shapes = [unit.output_shape for unit in backbone.units[-backbone.depths :]]
    initialized = config.init in ("zeros", "xavier", "kaiming")
    return HeadCode(
        parts=embed(*dict.fromkeys(own), *([initialize_head] if initialized else [])),
        layers=tuple(_expression(layer, shapes) for layer in head),
        init=f"{initialize_head.__name__}(head, {config.init!r})" if initialized else "",
    )


def _layers(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Return the layers, and those of the pools of several units."""
    for module in modules:
        yield module
        if isinstance(module, DepthPool):
            for pool in module.pools:
                yield from _layers(pool.children())


def _is_torch(layer: nn.Module) -> bool:
    return type(layer).__module__.startswith("torch.nn.")


def _expression(layer: nn.Module, shapes: Sequence[tuple[int, ...]]) -> str:
    """Return the expression that creates a layer that sees features of these shapes, one a unit."""
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
        case nn.Sequential():
            return f"{name}({', '.join(_expression(each, shapes) for each in layer)})"
        case DepthPool():
            pools = zip(layer.pools, shapes, strict=True)
            return f"{name}([{', '.join(_expression(pool, [shape]) for pool, shape in pools)}])"
    match type(layer).__name__:
        case "GlobalPool":
            return f"GlobalPool({', '.join(map(repr, getattr(layer, 'parts', ())))})"
        case "CosineLinear":
            weight = layer.get_parameter("weight")
            return f"CosineLinear({weight.shape[1]}, {weight.shape[0]})"
        case "AttentionPool":
            return f"AttentionPool({shapes[-1]!r}, {len(layer.get_parameter('queries'))})"
        case "ToMap":
            return f"ToMap({shapes[-1]!r})"
    if any(each.default is each.empty for each in inspect.signature(type(layer)).parameters.values()):
        raise InvalidInputError(f"its head has a layer {type(layer).__name__} that a script does not have")
    return f"{name}()"
