"""Stacked heads: heads of one structure with their parameters stacked, so that each layer is computed for all at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from itertools import chain

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import HeadConfig
from ..networks import CosineLinear, Dropout, drop

# Tensors (M, ...) of one layer, by name.
_Own = Mapping[str, Tensor]


def _linear(features: Tensor, own: _Own) -> Tensor:
    # Weights first: on a CPU, products with few classes take a third of the time in this order.
    products = own["weight"] @ features.transpose(1, 2)
    return (products + own["bias"].unsqueeze(2) if "bias" in own else products).transpose(1, 2)


def _cosine(features: Tensor, own: _Own) -> Tensor:
    cosines = F.normalize(own["weight"], dim=2) @ F.normalize(features, dim=2).transpose(1, 2)
    return own["scale"].unsqueeze(2) * cosines.transpose(1, 2)


def _batch_norm(features: Tensor, own: _Own, layer: nn.BatchNorm1d, *, training: bool) -> Tensor:
    """Batch norm of the channels of all heads, side by side."""
    members, count, size = features.shape
    flat = features.transpose(0, 1).reshape(count, members * size)
    mean, var, weight, bias = (own[name].view(-1) for name in ("running_mean", "running_var", "weight", "bias"))
    normed = F.batch_norm(flat, mean, var, weight, bias, training, layer.momentum or 0.0, layer.eps)
    return normed.view(count, members, size).transpose(0, 1)


def _layer_norm(features: Tensor, own: _Own, layer: nn.LayerNorm) -> Tensor:
    normed = F.layer_norm(features, features.shape[2:], eps=layer.eps)
    return normed * own["weight"].unsqueeze(1) + own["bias"].unsqueeze(1)


# Layers with a dropout before them.
_PRODUCTS: dict[type[nn.Module], Callable[[Tensor, _Own], Tensor]] = {nn.Linear: _linear, CosineLinear: _cosine}


def structure(head: nn.Sequential, config: HeadConfig) -> Hashable:
    """All that heads must have in common to be stacked: whatever decides shapes and random draws.

    Args:
        head: Head without its pooling.
        config: Configuration of the head; pooling and dropout may differ.
    """
    shapes = tuple(tuple(value.shape) for value in head.state_dict().values())
    return config.model_copy(update={"pooling": "avg", "dropout": 0.0}), shapes


class HeadStack:
    """Several heads of one :func:`structure`, computed together.

    Args:
        heads: M heads without their pooling, on the device; their weights are copied.
        dropout: Dropout probability of each head.
        generator: Generator on the device from which each head alone would draw its dropout.

    Attributes:
        parameters: Trainable parameters (M, ...), by layer and name (``0.weight``).
        statistics: Running statistics of batch norms (M, ...), by layer and name.
    """

    def __init__(self, heads: Sequence[nn.Sequential], dropout: Sequence[float], generator: torch.Generator) -> None:
        every = [_layers(head) for head in heads]
        self._layers = every[0]
        self._generator = generator
        keep = torch.tensor([1 - probability for probability in dropout], device=generator.device)
        self._keep = keep.view(-1, 1, 1) if any(dropout) else None
        own, others = _tensors(heads[0]), [_tensors(head) for head in heads]
        stacked = {name: torch.stack([tensors[name].detach() for tensors in others]) for name in own}
        self.parameters = {name: stacked[name].requires_grad_() for name in own if isinstance(own[name], nn.Parameter)}
        self.statistics = {name: stacked[name] for name in own if name not in self.parameters}

    def __len__(self) -> int:
        return len(self.moving()[0])

    def moving(self) -> list[Tensor]:
        """All tensors that training changes, (M, ...) each."""
        return [*self.parameters.values(), *self.statistics.values()]

    def logits(self, features: Tensor, *, training: bool) -> Tensor:
        """Logits (M, N, classes) of features (M, N, D), or of features (1, N, D) that all heads share."""
        features = features.expand(len(self), -1, -1)
        for place, layer in enumerate(self._layers):
            features = self._layer(layer, self._own(place), features, training=training)
        return features

    def copy_of(self, member: int) -> dict[str, Tensor]:
        """A copy of the present tensors of one head."""
        named = chain(self.parameters.items(), self.statistics.items())
        return {name: value[member].detach().clone() for name, value in named}

    def keep(self, members: Tensor) -> None:
        """Continue with these heads alone.

        Args:
            members: Indices of the heads, int64, on the device.
        """
        self._keep = None if self._keep is None else self._keep[members]
        self.parameters = {name: value.detach()[members].requires_grad_() for name, value in self.parameters.items()}
        self.statistics = {name: value[members] for name, value in self.statistics.items()}

    def _layer(self, layer: nn.Module, own: _Own, features: Tensor, *, training: bool) -> Tensor:
        if isinstance(layer, nn.BatchNorm1d):
            return _batch_norm(features, own, layer, training=training)
        if isinstance(layer, nn.LayerNorm):
            return _layer_norm(features, own, layer)
        if type(layer) not in _PRODUCTS:
            return layer(features)
        return _PRODUCTS[type(layer)](self._dropped(features) if training else features, own)

    def _dropped(self, features: Tensor) -> Tensor:
        """Dropout with one draw for all heads: each head alone would draw the same numbers."""
        if self._keep is None:
            return features
        uniform = torch.rand(features.shape[1:], device=features.device, generator=self._generator)
        return drop(features, uniform, self._keep)

    def _own(self, place: int) -> _Own:
        start = f"{place}."
        named = chain(self.parameters.items(), self.statistics.items())
        return {name.removeprefix(start): value for name, value in named if name.startswith(start)}


def fill(head: nn.Sequential, state: Mapping[str, Tensor]) -> None:
    """Copy the tensors of :meth:`HeadStack.copy_of` into a head."""
    own = _tensors(head)
    with torch.no_grad():
        for name, value in state.items():
            own[name].copy_(value)


def _layers(head: nn.Sequential) -> list[nn.Module]:
    return [layer for layer in head if not isinstance(layer, Dropout)]


def _tensors(head: nn.Sequential) -> dict[str, Tensor]:
    """Floating-point parameters and statistics, by index of the layer (without dropouts) and name."""
    return {
        f"{place}.{name}": value
        for place, layer in enumerate(_layers(head))
        for name, value in chain(layer.named_parameters(), layer.named_buffers())
        if value.is_floating_point()
    }
