"""A phase: one stretch of training, as data. Strategies make phases; the training loop knows nothing else of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from .config import TrialConfig
    from .network import Network
    from .training import EpochResult, OnEpoch, PhaseData

Selects = Callable[[nn.Module, str], bool]
"""Whether a parameter of a trainable unit trains, by the module that owns it and its name there."""
Penalty = Callable[[], Tensor]
"""A term of the loss, read at each step."""
Solver = Callable[["Network", "TrialConfig", "PhaseData", int, "OnEpoch"], "list[EpochResult]"]
"""Fits the head of a network: its configuration, data, the number of the phase's epoch, and whom to tell."""


def every_parameter(module: nn.Module, name: str) -> bool:
    return True


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
        penalty: Makes an extra term of the loss when the phase begins.
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
    adapt: Callable[[nn.Module], None] | None = None
    penalty: Callable[[Network], Penalty] | None = None
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
