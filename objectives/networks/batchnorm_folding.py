"""Batch-norm folding: batch norms in evaluation mode, merged into the convolutions before them, once or every step."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .graph_pairs import merge_pairs

# Sizes of an output from which folding at each step saves time, found on MobileNetV2, ResNet-18 and ShuffleNetV2 at 32
# to 128 px: in numbers, and as a multiple of the number of weights.
_MIN_OUTPUT, _MIN_RATIO = 400_000, 8
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold(network: nn.Module) -> nn.Module:
    """A network's function in evaluation mode, with fewer operations: equal up to rounding.

    In evaluation mode a batch norm scales and shifts, which weights and bias of a convolution can do at no cost (Jacob
    et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", section
    3.2). Unchanged modules are shared with the network; folded weights are copies and do not follow it.

    Args:
        network: A traced network; any other module is returned as it is. Modules in training mode are not folded.
    """
    if not isinstance(network, fx.GraphModule):
        return network

    def fixed(convolution: nn.Module, norm: Any) -> bool:
        return norm.running_mean is not None and not (convolution.training or norm.training)

    return merge_pairs(network, (_CONVOLUTIONS, _NORMS), fuse_conv_bn_eval, fixed)


class FoldedConvolution(nn.Module):
    """A convolution and the batch norm after it, with fixed statistics, as one convolution; all parameters can train.

    Scaling the weights instead of the output saves two passes over the output and one over its gradient, and the memory
    of the output before the norm.

    Args:
        convolution: The convolution.
        norm: The batch norm, whose statistics are used and never updated.
    """

    def __init__(self, convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        self.convolution, self.norm = convolution, norm

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, H, W) to the norm's output."""
        convolution, norm = self.convolution, self.norm
        if not self._pays(features):
            return norm(convolution(features))
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = torch.rsqrt(norm.running_var + norm.eps)
        if norm.affine:
            scale = norm.weight * scale
        before = -norm.running_mean if convolution.bias is None else convolution.bias - norm.running_mean
        shift = before * scale + norm.bias if norm.affine else before * scale
        return convolution._conv_forward(features, convolution.weight * scale[:, None, None, None], shift)

    def _pays(self, features: Tensor) -> bool:
        """Whether passes over the output, which are saved, are longer than those over the weights, which are added."""
        convolution = self.convolution
        steps = features.shape[0] * features.shape[2] * features.shape[3] // math.prod(convolution.stride)
        output = steps * convolution.out_channels
        return output >= max(_MIN_OUTPUT, _MIN_RATIO * convolution.weight.numel())


def fold_in_training(unit: nn.Module) -> nn.Module:
    """A unit whose batch norms keep their statistics while it trains, with fewer operations: equal up to rounding.

    It shares all modules, and so their modes and weights, with the unit. A norm is not folded whose scale trains after
    a convolution that does not: the gradient of the folded weights would cost more than it saves.

    Args:
        unit: A traced unit of a network; any other module, and one whose graph reads its mode, is returned as it is.
    """
    if not isinstance(unit, fx.GraphModule):
        return unit
    attributes = [attrgetter(str(node.target))(unit) for node in unit.graph.nodes if node.op == "get_attr"]
    if not all(isinstance(value, Tensor) for value in attributes):
        return unit

    def saves(convolution: nn.Conv2d, norm: Any) -> bool:
        scale = norm.weight
        trains = isinstance(scale, Tensor) and scale.requires_grad
        return norm.running_mean is not None and (bool(convolution.weight.requires_grad) or not trains)

    return merge_pairs(unit, ((nn.Conv2d,), _NORMS), FoldedConvolution, saves)
