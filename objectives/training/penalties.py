"""Penalties: extra terms of the training loss."""

from __future__ import annotations

from torch import Tensor

from ..networks import Network
from ..phases import Penalty


def l2_sp(network: Network, *, alpha: float, beta: float) -> Penalty:
    """L2-SP (Li et al. 2018): alpha/2 |w - w0|^2 over the backbone's trainable weights + beta/2 |w|^2 over the head's.

    Args:
        network: Network whose present weights are w0.
        alpha: Strength of the pull of the backbone toward w0.
        beta: Strength of the pull of the head toward zero.
    """
    trainable = dict(network.trainable())
    head = [parameter for name, parameter in trainable.items() if name.startswith("head.")]
    backbone = [parameter for name, parameter in trainable.items() if not name.startswith("head.")]
    start = [parameter.detach().clone() for parameter in backbone]

    def penalty() -> Tensor:
        moved = [(now - then).square().sum() for now, then in zip(backbone, start, strict=True)]
        size = [parameter.square().sum() for parameter in head]
        zero = head[0].new_zeros(())
        return alpha / 2 * sum(moved, start=zero) + beta / 2 * sum(size, start=zero)

    return penalty
