"""Result of an epoch, as callbacks receive it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochResult:
    """Losses, score and learning rates of one epoch.

    Attributes:
        epoch: Number of the epoch from 0, counted over all phases.
        phase: Name of the phase.
        train_loss: Mean training loss over the epoch's images, with label smoothing, mixing, class weights and
            penalties.
        val_loss: Mean cross-entropy over the validation images.
        score: The study's metric on the validation images.
        learning_rates: Learning rate of each part of the network at the end of the epoch.
        seconds: Duration of training and validation, seconds.
        micro_batch: Images computed at once, where a whole batch does not fit in memory; None for whole batches.
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
