"""The pace of checkpoints: seldom enough to cost little, often enough to lose little."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..timing import Timing
from .checkpoints import Checkpoints


class PacedCheckpoints:
    """Checkpoints of one training, written only when one is due.

    States may be missing: :meth:`save` skips a state if the last one is recent, and a training that ends before its
    first checkpoint is due writes none.

    Args:
        kept: Checkpoints of the training.
        timing: Minimum time between two checkpoints, and the share of the time that they may take.
    """

    def __init__(self, kept: Checkpoints, timing: Timing) -> None:
        self._kept = kept
        self._timing = timing
        self._due = time.monotonic() + timing.checkpoint

    def hasten(self) -> None:
        """Save the next state, even if the last one is recent."""
        self._due = 0.0

    def save(self, state: Callable[[], bytes], *, now: bool = False) -> bool:
        """Save a state if the last one is old enough.

        Args:
            state: Function that returns the state; not called if nothing is saved.
            now: Whether to save even if the last state is recent, because the training is about to be interrupted.

        Returns:
            Whether the state was saved.

        Raises:
            StorageError: The state cannot be written.
        """
        began = time.monotonic()
        if began < self._due and not now:
            return False
        content = state()
        try:
            return self._kept.save(content)
        finally:
            ended = time.monotonic()
            self._due = ended + max(self._timing.checkpoint, (ended - began) / self._timing.checkpoint_share)

    def load(self) -> bytes | None:
        """Return the latest complete state, written by any worker; None if there is none."""
        return self._kept.load()

    def remove(self) -> None:
        """Remove all checkpoints of the training, which has ended."""
        self._kept.remove()
