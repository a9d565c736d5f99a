"""The result of an epoch, as callers receive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochResult:
    """What one epoch gave.

    Attributes:
        epoch: From 0, counted over all phases.
        phase: Name of the phase.
        train_loss: Mean over the epoch's images, with label smoothing, mixing, class weights and penalties.
        val_loss: Mean cross-entropy over the validation images.
        score: The study's metric on the validation images.
        learning_rates: Per part at the end of the epoch.
        seconds: Training and validation.
        micro_batch: Images computed at once, where a whole batch needs more memory than there is.
    """

    epoch: int
    phase: str
    train_loss: float
    val_loss: float
    score: float
    learning_rates: dict[str, float]
    seconds: float
    micro_batch: int | None = None


OnEpoch = Callable[[EpochResult], None]
