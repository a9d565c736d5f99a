"""Which parameters of a unit train, for strategies that train only some kinds."""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def norms_and_biases(module: nn.Module, name: str) -> bool:
    """Scales and offsets of norms, and all biases (BitFit, Ben Zaken et al. 2022, with the norms)."""
    return isinstance(module, _NORMS) or name.endswith("bias")
