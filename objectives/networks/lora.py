"""Low-rank adapters (LoRA, Hu et al. 2022), as parametrizations of the layers that they adapt.

A layer keeps its weight W frozen and computes with W + (alpha / rank) B A. B starts at zero, so the first output is
exactly the pretrained one; merging writes the sum into the weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class LowRank(nn.Module):
    """The low-rank parametrization of one weight.

    Args:
        weight: Weight (out, in) or (out, in, 1, 1), or ``blocks`` such matrices stacked along the first dimension.
        rank: Rank of each block's update; limited by the size of the block.
        alpha: Scale of the updates, which are multiplied by alpha / rank.
        blocks: Number of stacked matrices; 3 for attention's packed query, key and value.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float, blocks: int) -> None:
        super().__init__()
        rows, columns = len(weight) // blocks, weight[0].numel()
        rank = min(rank, rows, columns)
        self._scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(blocks, rank, columns))
        self.up = nn.Parameter(weight.new_zeros(blocks, rows, rank))
        nn.init.kaiming_uniform_(self.down.view(-1, columns), a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self._scale * (self.up @ self.down).reshape(weight.shape)


def add_lora(unit: nn.Module, *, rank: int, alpha: float) -> None:
    """Adapt every linear layer, 1x1 convolution and packed attention projection of a unit.

    Weights that the network itself parametrizes (weight norm, spectral norm) stay as they are.

    Args:
        unit: Unit of a backbone, changed in place.
        rank: Rank of the updates.
        alpha: Scale of the updates, which are multiplied by alpha / rank.

    Example:
        >>> from torch import nn
        >>> from frostline.objectives.networks import add_lora
        >>> unit = nn.Sequential(nn.Linear(8, 8))
        >>> add_lora(unit, rank=2, alpha=8.0)
        >>> [tuple(parameter.shape) for parameter in unit.parameters()]
        [(8,), (8, 8), (1, 2, 8), (1, 8, 2)]
    """
    for module, name, blocks in list(adaptable(unit)):
        addition = LowRank(getattr(module, name), rank, alpha, blocks)
        parametrize.register_parametrization(module, name, addition)


def adaptable(unit: nn.Module) -> Iterator[tuple[nn.Module, str, int]]:
    """Modules with the name of the weight to adapt, and the number of matrices that it stacks."""
    for module in unit.modules():
        if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            name, blocks = "in_proj_weight", 3
        elif isinstance(module, nn.Linear) or (
            isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1
        ):
            name, blocks = "weight", 1
        else:
            continue
        # A weight that hooks compute (the older weight norm) is no parameter.
        if name in module._parameters:
            yield module, name, blocks


def remove_adapters(model: nn.Module, *, merge: bool) -> None:
    """Remove all adapters from a network.

    Args:
        model: Network, changed in place.
        merge: Whether the updates are added to the weights; False restores the weights without them.
    """
    for module in model.modules():
        for name in _adapted(module):
            with torch.no_grad():
                adapted = getattr(module, name).detach().clone()
                parametrize.remove_parametrizations(module, name, leave_parametrized=False)
                if merge:
                    # Into the weight's own memory: its layout decides how a convolution is computed.
                    getattr(module, name).copy_(adapted)


def _adapted(module: nn.Module) -> list[str]:
    """Names of a module's weights with an adapter; other parametrizations are the network's own."""
    if not parametrize.is_parametrized(module):
        return []
    lists = module.parametrizations.items()  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return [name for name, own in lists if any(isinstance(each, LowRank) for each in own)]
