"""Packed convolutions: on a CPU, a frozen convolution whose weights lie as oneDNN computes them, with its activation.

PyTorch brings the weights into oneDNN's layout at every call, and runs the activation as a pass of its own over the
output. Both operations used here are those that PyTorch's Inductor compiles a frozen network to. They are private to
PyTorch: where they are missing, the modules run as they are. Results are the same up to rounding: oneDNN may choose
another algorithm for small features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn

from ..devices import has_bfloat16
from .graph_pairs import merge_pairs, replace_each

# What oneDNN knows of activations that round nothing: its name and constants.
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Identity: ("none", []),
}


def pack(network: nn.Module) -> nn.Module:
    """A network's function without gradients, faster on a CPU: equal up to rounding. It shares the network's weights.

    Args:
        network: A traced network in evaluation mode, whose weights no longer change; any other module is returned as
            it is, and so is everything where PyTorch has no packed convolutions.
    """
    if not (isinstance(network, fx.GraphModule) and _available()):
        return network
    joined = merge_pairs(network, ((nn.Conv2d,), tuple(_ACTIVATIONS)), PackedConvolution, lambda first, _: _fits(first))
    return replace_each(joined, (nn.Conv2d,), lambda each: PackedConvolution(each) if _fits(each) else each)


class PackedConvolution(nn.Module):
    """A convolution and the activation after it, in one pass; elsewhere than on a CPU, one after the other.

    Args:
        convolution: The convolution, whose weights no longer change.
        activation: ReLU or ReLU6; None for none.
    """

    def __init__(self, convolution: nn.Conv2d, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.convolution = convolution
        self.activation = activation or nn.Identity()
        self._attribute, self._constants = _ACTIVATIONS[type(self.activation)]
        # The packed weights, and the shape of the features that they are for.
        self._packed: tuple[torch.Size, Any] | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Map features (N, C, H, W) to the activation's output, in the precision of the weights."""
        own = self.convolution
        if features.device.type != "cpu":
            return self.activation(own(features))
        features = features.to(own.weight.dtype)
        window = (own.padding, own.stride, own.dilation, own.groups)
        if self._packed is None or self._packed[0] != features.shape:
            weights = torch.ops.mkldnn._reorder_convolution_weight(own.weight, *window, list(features.shape))
            self._packed = (features.shape, weights)
        return torch.ops.mkldnn._convolution_pointwise(
            features, self._packed[1], own.bias, *window, self._attribute, self._constants, ""
        )


def _available() -> bool:
    """Whether PyTorch has oneDNN with packed convolutions, and uses it."""
    operations = ("_convolution_pointwise", "_reorder_convolution_weight")
    return torch.backends.mkldnn.is_available() and all(hasattr(torch.ops.mkldnn, name) for name in operations)


def _fits(convolution: nn.Conv2d) -> bool:
    plain = convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)
    return plain and _has_type(convolution.weight.dtype)


def _has_type(kind: torch.dtype) -> bool:
    """Whether oneDNN packs weights of this type here: bfloat16 only for a CPU with instructions for it."""
    return kind == torch.float32 or (kind == torch.bfloat16 and has_bfloat16(torch.device("cpu")))
