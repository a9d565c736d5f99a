"""Model stock: one network of several fine-tuned ones and the pretrained one they began from.

Jang et al. 2024, "Model Stock: All we need is just a few fine-tuned models": fine-tuned weights lie near a sphere
around a center, which is better than any of them. In each layer the point nearest to the center, of the plane through
the pretrained and the N fine-tuned weights, divides the line from the pretrained weights to the mean of the others by
t = N cos(a) / (1 + (N - 1) cos(a)), where a is the angle between two fine-tuned weights, seen from the pretrained ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import fmean

import torch
from torch import Tensor

_STATISTICS = ("running_mean", "running_var")


def stock_ratio(differences: Sequence[Tensor]) -> float:
    """The ratio t in [0, 1]: 1 is the mean of the fine-tuned weights, 0 the pretrained ones.

    Args:
        differences: Fine-tuned minus pretrained weights of a layer, one tensor per network, two or more. The cosine is
            the mean over all pairs; where it is negative, nothing is common to the networks, and t is 0.

    Example:
        >>> import torch
        >>> from frostline.objectives.networks.model_stock import stock_ratio
        >>> one, other = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 3.0**0.5])
        >>> round(stock_ratio([one, one]), 4), round(stock_ratio([one, other]), 4)
        (1.0, 0.6667)
    """
    flat = [difference.flatten().double() for difference in differences]
    pairs = combinations(flat, 2)
    cosine = max(0.0, fmean(float(torch.cosine_similarity(one, other, dim=0)) for one, other in pairs))
    return len(flat) * cosine / (1 + (len(flat) - 1) * cosine)


def model_stock(pretrained: Mapping[str, Tensor], tuned: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor] | None:
    """The weights of a model stock; each tensor is a layer, as in the authors' program.

    Args:
        pretrained: Tensors of the backbone by name, from which all networks began.
        tuned: Tensors of the fine-tuned networks by name. Those that are not among the pretrained ones are the head's:
            there the stock is their mean.

    Returns:
        Tensors by name; None where the stock makes no sense: no weight of the backbone was trained, or statistics of
        batch norms were, which do not fit the mean of weights.
    """
    changed = {name for name, value in pretrained.items() if any(not torch.equal(value, each[name]) for each in tuned)}
    if not changed or any(name.endswith(_STATISTICS) for name in changed):
        return None
    return {name: _merged(pretrained.get(name), [each[name] for each in tuned]) for name in tuned[0]}


def _merged(anchor: Tensor | None, values: Sequence[Tensor]) -> Tensor:
    if not values[0].is_floating_point() or all(torch.equal(value, values[0]) for value in values):
        return values[0].clone()
    mean = torch.stack(list(values)).mean(dim=0)
    if anchor is None:
        return mean
    return torch.lerp(anchor, mean, stock_ratio([value - anchor for value in values]))
