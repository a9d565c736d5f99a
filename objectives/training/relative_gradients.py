"""Relative gradient norms: how far a step moves each unit, relative to its weights.

Auto-RGN (Lee et al. 2023, "Surgical Fine-Tuning Improves Adaptation to Distribution Shifts") scales each learning rate
by the relative gradient norm over the largest one, anew at the start of each epoch. The authors' program does so for
each tensor and leaves batch norms out; here a unit has one rate, since tensors that start at zero have no relative
norm. The head, which is new, keeps its own rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor, nn


def relative_norm(parameters: Iterable[nn.Parameter]) -> float:
    """Norm of all gradients together over the norm of all values; 0 where the values are zero.

    Args:
        parameters: Parameters after a backward pass; those without a gradient count as unmoved.

    Example:
        >>> import torch
        >>> from frostline.objectives.training.relative_gradients import relative_norm
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> (2 * weight[0]).backward()
        >>> relative_norm([weight])
        0.4
    """
    held = list(parameters)
    values = _norm(value.detach() for value in held)
    return _norm(value.grad for value in held if value.grad is not None) / values if values else 0.0


def shares_of_rates(batches: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Share of its rate that each unit trains at, in [0, 1]: its mean relative norm over the largest.

    Args:
        batches: Relative norms by unit, of one or more batches.

    Example:
        >>> from frostline.objectives.training.relative_gradients import shares_of_rates
        >>> shares_of_rates([{"unit 00": 0.25, "unit 01": 1.0}, {"unit 00": 0.75, "unit 01": 3.0}])
        {'unit 00': 0.25, 'unit 01': 1.0}
    """
    means = {unit: fmean(norms[unit] for norms in batches) for unit in batches[0]}
    largest = max(means.values(), default=0.0)
    return {unit: mean / largest if largest else 1.0 for unit, mean in means.items()}


def _norm(tensors: Iterable[Tensor]) -> float:
    norms = [torch.linalg.vector_norm(tensor.float()) for tensor in tensors]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
