"""What has ended in a study, taken over once: counting anew would cost the more, the more trials there are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from optuna.trial import FrozenTrial

from .strategy_trials import changes


class EndedTrials(ABC):
    """Takes over every trial of a study that has ended, once; the others are few, and looked at anew.

    A subclass says in :meth:`take` what it keeps of a trial, and in :meth:`forget` how it starts anew.
    """

    def __init__(self) -> None:
        self._seen: Sequence[FrozenTrial] = ()
        # Trials that have not ended, by number.
        self._open: dict[int, FrozenTrial] = {}

    @abstractmethod
    def take(self, trial: FrozenTrial) -> None:
        """Take over a trial that has ended."""

    @abstractmethod
    def forget(self) -> None:
        """Forget all trials that have ended."""

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Take over what has changed among the trials of the study, which nobody changes in place."""
        gone, come = changes(self._seen, trials)
        if any(trial.state.is_finished() for trial in gone):
            # Another worker has taken a trial over that seemed to have ended.
            gone, come, self._open = [], list(trials), {}
            self.forget()
        self._seen = trials
        for trial in gone:
            del self._open[trial.number]
        for trial in come:
            if trial.state.is_finished():
                self.take(trial)
            else:
                self._open[trial.number] = trial

    def others(self, number: int) -> list[FrozenTrial]:
        """Return the trials but one that have not ended."""
        return [trial for trial in self._open.values() if trial.number != number]
