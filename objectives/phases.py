"""Phases of a training, as plain data: what is frozen, what trains, at which rates and for how long.

Strategies plan phases; the training loop knows nothing else about strategies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .epochs import EpochResult

Selects = Callable[[Any, str], bool]
"""Says whether a parameter of a trainable unit trains, from its module (``nn.Module``) and its name in that module."""
Adapt = Callable[[Any], None]
"""Adds adapters to a unit (``nn.Module``)."""
Penalty = Callable[[], Any]
"""Computes an extra term of the loss (a scalar tensor); called at each step."""
Solver = Callable[..., list[EpochResult]]
"""Fits the head of a network in closed form or by its own solver.

Called with the network, the configuration (``TrialConfig``), the data of the phase (``PhaseData``), the number of the
phase's epoch and the callback of an epoch (``OnEpoch``); returns the results of its epochs.
"""

# Batches at the start of an epoch over which relative gradient norms are averaged, as Auto-RGN's authors do.
RATE_BATCHES = 5
# Base classes of torch's normalization layers. By name, since reading a study must not import torch.
_NORMS = ("_NormBase", "LayerNorm", "GroupNorm", "RMSNorm")


def every_parameter(module: object, name: str) -> bool:
    """Select every parameter: the default of :attr:`Phase.selects`."""
    return True


def norms_and_biases(module: object, name: str) -> bool:
    """Select scales and offsets of norms, and all biases (BitFit, Ben Zaken et al. 2022, with the norms)."""
    return name.endswith("bias") or any(
        kind.__module__.startswith("torch.nn.") and kind.__name__ in _NORMS for kind in type(module).__mro__
    )


@dataclass(frozen=True)
class Phase:
    """One stretch of training with a fixed set of trainable units.

    Attributes:
        name: Name of the phase in logs; unique within a plan.
        freeze_depth: Number of frozen units, counted from the input; n of n units leaves the head alone to train.
        epochs: Maximum number of epochs.
        head_learning_rate: Peak learning rate of the head.
        unit_learning_rates: Peak learning rate of each unit after the frozen ones; 0 freezes a unit.
        batch_norm: Mode of the batch norms of trainable units: ``train`` or ``eval``.
        selects: Says which parameters of a trainable unit train.
        trains_only: Name of what ``selects`` and ``adapt`` look for, for the error where a backbone has none of it.
        adapt: Adds trainable adapters to a trainable unit, whose own weights then stay frozen.
        penalty: Makes an extra term of the loss from the network when the phase starts.
        decays_backbone: Whether weight decay applies to the backbone.
        continues: Whether the phase keeps the optimizer and schedule of the phase before it.
        until_plateau: Whether the phase may take all epochs of the plan that are left, so that early stopping ends it;
            ``epochs`` is then the fewest that a phase with a successor takes. The training ends where none is left.
        relative_rates: Whether each unit's rate is scaled by its relative gradient norm, anew at the start of each
            epoch (``objectives/training/relative_gradients.py``).
        solve: Fits the head at once instead of training it for epochs.
    """

    name: str
    freeze_depth: int
    epochs: int
    head_learning_rate: float
    unit_learning_rates: tuple[float, ...] = ()
    batch_norm: str = "train"
    selects: Selects = every_parameter
    trains_only: str = "weight"
    adapt: Adapt | None = None
    penalty: Callable[..., Penalty] | None = None
    decays_backbone: bool = True
    continues: bool = False
    until_plateau: bool = False
    relative_rates: bool = False
    solve: Solver | None = None


def chains(phases: Sequence[Phase]) -> list[list[Phase]]:
    """Group consecutive phases that share one optimizer.

    Args:
        phases: Phases of a plan, in order.

    Returns:
        The phases in order, in one list per optimizer.

    Example:
        >>> from frostline.objectives.phases import Phase, chains
        >>> plan = [Phase("top 0", 3, 1, 0.01), Phase("top 1", 2, 1, 0.01, (0.001,), continues=True)]
        >>> [[phase.name for phase in chain] for chain in chains(plan)]
        [['top 0', 'top 1']]
    """
    grouped: list[list[Phase]] = []
    for phase in phases:
        if phase.continues and grouped:
            grouped[-1].append(phase)
        else:
            grouped.append([phase])
    return grouped
