"""Heads: pooling, hidden layers and the output layer, which replace a backbone's own classifier.

The last module of a head is the output layer; all modules before it compute the output layer's input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, takewhile
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..backbones import Backbone, is_map
from ..config import HeadConfig
from .attention import AttentionPool
from .user_heads import create_user_head


class GlobalPool(nn.Module):
    """Global average, maximum, or both: (N, C, H, W) to (N, C) or (N, 2C) (fastai's AdaptiveConcatPool2d).

    Args:
        parts: One or both of ``avg`` and ``max``, in this order.

    Example:
        >>> import torch
        >>> from frostline.objectives.networks.heads import GlobalPool
        >>> GlobalPool("avg", "max")(torch.arange(4.0).reshape(1, 1, 2, 2)).tolist()
        [[1.5, 3.0]]
    """

    _PARTS: ClassVar = {"avg": F.adaptive_avg_pool2d, "max": F.adaptive_max_pool2d}

    def __init__(self, *parts: str) -> None:
        super().__init__()
        self.parts: tuple[str, ...] = parts

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([self._PARTS[part](features, 1).flatten(1) for part in self.parts], dim=1)

    def extra_repr(self) -> str:
        return ", ".join(self.parts)


class Half(nn.Module):
    """The first or second half of the columns: (N, 2C) to (N, C), a view.

    Args:
        place: 0 for the first half, 1 for the second.
    """

    def __init__(self, place: int) -> None:
        super().__init__()
        self.place = place

    def forward(self, features: Tensor) -> Tensor:
        return features.chunk(2, dim=1)[self.place]

    def extra_repr(self) -> str:
        return str(self.place)


class GeMPool(nn.Module):
    """Generalized mean with a learned exponent: (N, C, H, W) to (N, C) (Radenović et al. 2018).

    Args:
        p: Initial exponent.
        eps: Minimum of the features, which keeps their powers positive.
    """

    def __init__(self, p: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([p]))
        self._eps = eps

    def forward(self, features: Tensor) -> Tensor:
        return features.float().clamp(min=self._eps).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


class CosineLinear(nn.Module):
    """Scaled cosines of features and class weights, (N, D) to (N, K) (Gidaris & Komodakis 2018).

    Args:
        size_in: Number of features D.
        size_out: Number of classes K.
        scale: Initial value of the learned scale, which turns cosines in [-1, 1] into confident logits.
    """

    def __init__(self, size_in: int, size_out: int, scale: float = 16.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(size_out, size_in))
        self.scale = nn.Parameter(torch.tensor([scale]))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        return self.scale * F.linear(F.normalize(features, dim=1), F.normalize(self.weight, dim=1))


class Dropout(nn.Dropout):
    """``nn.Dropout`` by a threshold on uniform numbers of the global generator.

    The numbers depend neither on the probability nor on the device's own dropout kernel: heads that train together
    share one draw, and each gets the mask that it would get alone.
    """

    def forward(self, input: Tensor) -> Tensor:
        return drop(input, torch.rand(input.shape, device=input.device), 1 - self.p) if self.training else input


def drop(features: Tensor, uniform: Tensor, keep: float | Tensor) -> Tensor:
    """Zero the features whose uniform number is not below ``keep``, and scale the others by 1 / ``keep``.

    >>> import torch
    >>> from frostline.objectives.networks import drop
    >>> drop(torch.ones(3), torch.tensor([0.1, 0.4, 0.9]), keep=0.5).tolist()
    [2.0, 2.0, 0.0]
    """
    # In floating point and in place: several times faster on a CPU than a comparison.
    mask = (keep - uniform).sign_().clamp_(min=0).mul_(1 / keep)
    return features * mask.to(features.dtype)


class ToMap(nn.Module):
    """Puts features into the order (N, C, H, W): tokens (N, L, C) become (N, C, L, 1), maps (N, H, W, C) are
    transposed.

    Args:
        shape: Shape of one image's features.

    Attributes:
        shape: Shape of one image's features as (C, H, W).
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.turns = not is_map(shape)
        self.shape = (shape[-1], *shape[:-1]) if self.turns else shape
        self.shape += (1,) * (3 - len(shape))

    def forward(self, features: Tensor) -> Tensor:
        ordered = features.movedim(-1, 1) if self.turns else features
        # Of the shape, not len(): in an exported network the number of images stays open.
        return ordered.reshape(features.shape[0], *self.shape)


class DepthPool(nn.Module):
    """Pooled features of several units side by side: maps, tokens or vectors (N, ...), one a unit, to (N, D).

    Intermediate layers know what the last one lost (Ciernik et al. 2026, "Beyond the Final Layer: Attentive Multi-Layer
    Fusion for Vision Transformers", arXiv 2601.09322). They fuse layers of one width by attention; units of other
    networks have different widths, so here the output layer weighs all features.

    Args:
        pools: Pooling of each unit's features.
    """

    def __init__(self, pools: Iterable[nn.Module]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return torch.cat([pool(own) for pool, own in zip(self.pools, features, strict=True)], dim=1)


POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "avg": lambda: GlobalPool("avg"),
    "max": lambda: GlobalPool("max"),
    "avgmax": lambda: GlobalPool("avg", "max"),
    "gem": GeMPool,
    "flatten": nn.Flatten,
}
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
OUTPUTS: dict[str, Callable[[int, int], nn.Module]] = {"linear": nn.Linear, "cosine": CosineLinear}


def create_head(
    config: HeadConfig,
    feature_shape: tuple[int, ...],
    num_classes: int,
    earlier_shapes: Sequence[tuple[int, ...]] = (),
) -> nn.Sequential:
    """Build a head.

    Args:
        config: Architecture of the head.
        feature_shape: Shape of the backbone's features for one image: (C, H, W), (H, W, C), tokens (L, C), or (C,),
            which needs no pooling.
        num_classes: Number of classes.
        earlier_shapes: Shapes of the features of earlier units that the head sees beside the last ones.

    Returns:
        A module from features (N, *feature_shape), or a tuple of all units' features, to logits (N, num_classes). Its
        weights come from torch's global generator.

    Raises:
        InvalidInputError: The head is the user's; see :func:`~.user_heads.create_user_head`.

    Example:
        >>> import torch
        >>> from frostline.objectives.config import HeadConfig
        >>> from frostline.objectives.networks import create_head
        >>> head = create_head(HeadConfig(hidden_layers=1, width=16), feature_shape=(8, 4, 4), num_classes=3)
        >>> head(torch.zeros(2, 8, 4, 4)).shape
        torch.Size([2, 3])
    """
    if config.function is not None:
        return create_user_head(config.function, feature_shape, num_classes)
    pools = [_pooling(config, shape) for shape in (*earlier_shapes, feature_shape)]
    layers: list[nn.Module] = pools[0][0]
    if earlier_shapes:
        layers = [DepthPool(nn.Sequential(*pool) for pool, _ in pools)]
    sizes = [sum(size for _, size in pools), *[config.width] * config.hidden_layers]
    if config.hidden_layers == 0 and config.normalization != "none":
        layers.append(NORMALIZATIONS[config.normalization](sizes[0]))
    for size_in, size_out in pairwise(sizes):
        layers += _hidden_layer(config, size_in, size_out)
    layers += [*_dropout(config), OUTPUTS[config.output](sizes[-1], num_classes)]
    head = nn.Sequential(*layers)
    initialize_head(head, config.init)
    return head


def head_for(backbone: Backbone, config: HeadConfig, num_classes: int) -> nn.Sequential:
    """Build a head for a backbone's features; see :func:`create_head`."""
    *earlier, last = (unit.output_shape for unit in backbone.units[-backbone.depths :])
    return create_head(config, last, num_classes, earlier)


def seen_by_head(backbone: Backbone, config: HeadConfig) -> Backbone:
    """The backbone with the features that a head sees: those of several units, or those before the last pooling.

    Raises:
        InvalidInputError: The head pools by attention, and the last unit has vectors alone.
    """
    return backbone.before_pooling() if config.pooling == "attention" else backbone.with_depths(config.depths)


def _pooling(config: HeadConfig, shape: tuple[int, ...]) -> tuple[list[nn.Module], int]:
    """Modules from features to vectors, and the size of the vectors."""
    pooling = config.pooling
    if len(shape) == 1:
        return [nn.Flatten()], shape[0]
    if pooling == "attention":
        attention = AttentionPool(shape, config.queries)
        return [attention], attention.values.shape[:2].numel()
    arrange = ToMap(shape)
    channels = arrange.shape[0]
    size = {"avgmax": 2 * channels, "flatten": math.prod(shape)}.get(pooling, channels)
    pool = POOLINGS[pooling]()
    return ([pool] if arrange.shape == shape else [arrange, pool]), size


@dataclass(frozen=True)
class FixedPooling:
    """The first modules of a head that have no parameters and draw no random numbers: their output can be shared.

    Averages and maxima are taken in one pass, so that heads with either or both share one set of features.

    Attributes:
        layers: Number of the head's modules that it replaces.
        modules: Modules that compute the shared features.
        pick: Module that selects the head's part of the shared features.
    """

    layers: int = 0
    modules: tuple[nn.Module, ...] = ()
    pick: nn.Module = field(default_factory=nn.Identity)

    @classmethod
    def average(cls, feature_shape: tuple[int, ...]) -> FixedPooling:
        """The global average of features, whose shape is that of one image; nothing where they are vectors."""
        return cls.of(nn.Sequential(*_pooling(HeadConfig(), feature_shape)[0]))

    @classmethod
    def of(cls, head: nn.Sequential) -> FixedPooling:
        # Of no other class: a user's own may compute otherwise under the same description.
        fixed = (ToMap, GlobalPool, DepthPool, nn.Flatten, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
        modules = tuple(takewhile(lambda layer: type(layer) in fixed, head))
        last = modules[-1] if modules else None
        if not isinstance(last, GlobalPool):
            return cls(len(modules), modules)
        both = GlobalPool("avg", "max")
        pick = nn.Identity() if last.parts == both.parts else Half(0 if last.parts == ("avg",) else 1)
        return cls(len(modules), (*modules[:-1], both), pick)


def _dropout(config: HeadConfig) -> list[nn.Module]:
    return [Dropout(config.dropout)] if config.dropout > 0 else []


def _hidden_layer(config: HeadConfig, size_in: int, size_out: int) -> list[nn.Module]:
    normalization = [] if config.normalization == "none" else [NORMALIZATIONS[config.normalization](size_out)]
    # A batch norm subtracts the mean: a bias before it would move by rounding errors alone.
    linear = nn.Linear(size_in, size_out, bias=config.normalization != "batch")
    return [*_dropout(config), linear, *normalization, ACTIVATIONS[config.activation]()]


def initialize_head(head: nn.Sequential, init: str) -> None:
    """Initialize the linear layers of a head; see :class:`~frostline.objectives.config.HeadConfig`."""
    linears = [layer for layer in head if isinstance(layer, nn.Linear)]
    if init == "zeros" and linears[-1:] == [head[-1]]:
        nn.init.zeros_(linears[-1].weight)
        nn.init.zeros_(linears[-1].bias)
    elif init in ("xavier", "kaiming"):
        fill = nn.init.xavier_uniform_ if init == "xavier" else nn.init.kaiming_normal_
        for layer in linears:
            fill(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
