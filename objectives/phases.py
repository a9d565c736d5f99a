"""A phase: one stretch of training, as data. Strategies make phases; the training loop knows nothing else of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .epochs import EpochResult

Selects = Callable[[Any, str], bool]
"""Whether a parameter of a trainable unit trains, by the module that owns it (``nn.Module``) and its name there."""
Adapt = Callable[[Any], None]
"""Puts adapters into a unit (``nn.Module``)."""
Penalty = Callable[[], Any]
"""A term of the loss (a scalar tensor), read at each step."""
Solver = Callable[..., list[EpochResult]]
"""Fits the head of a network.

Called with the network, the configuration (``TrialConfig``), the data of the phase (``PhaseData``), the number of the
phase's epoch, and the callback of an epoch (``OnEpoch``).
"""

# Bases of torch's layers that normalize. Named, not imported: reading a study must not load torch.
_NORMS = ("_NormBase", "LayerNorm", "GroupNorm", "RMSNorm")


def every_parameter(module: object, name: str) -> bool:
    return True


def norms_and_biases(module: object, name: str) -> bool:
    """Scales and offsets of norms, and all biases (BitFit, Ben Zaken et al. 2022, with the norms)."""
    return name.endswith("bias") or any(
        kind.__module__.startswith("torch.nn.") and kind.__name__ in _NORMS for kind in type(module).__mro__
    )


@dataclass(frozen=True)
class Phase:
    """One stretch of training with a fixed set of trainable units.

    Attributes:
        name: For logs.
        freeze_depth: Units frozen, counted from the input; n leaves the head alone to train.
        epochs: Upper bound.
        head_learning_rate: Peak rate of the head.
        unit_learning_rates: Peak rate of each unit after the frozen ones; 0 freezes a unit.
        batch_norm: Mode of the batch norms of trainable units: ``train`` or ``eval``.
        selects: Which parameters of a trainable unit train.
        trains_only: What ``selects`` and ``adapt`` look for, for the message where a backbone has none.
        adapt: Puts trainable adapters into a trainable unit, whose own weights then stay as they are.
        penalty: Makes an extra term of the loss of the network when the phase begins.
        decays_backbone: Whether weight decay applies to the backbone.
        continues: Whether optimizer and schedule go on from the phase before.
        solve: Fits the head at once instead of training for epochs.
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
    solve: Solver | None = None


def chains(phases: Sequence[Phase]) -> list[list[Phase]]:
    """Phases by the optimizer that they share."""
    grouped: list[list[Phase]] = []
    for phase in phases:
        if phase.continues and grouped:
            grouped[-1].append(phase)
        else:
            grouped.append([phase])
    return grouped
