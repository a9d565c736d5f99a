"""The trials of a study in memory, and which of them a worker must read again; thousands cost no more than a few."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from ..study import STARTED


@dataclass(frozen=True)
class Unread:
    """Which trials to read from the database.

    Attributes:
        first: Lowest number.
        but: Ids of trials to leave out.
        under_way: Ids of trials to leave out while they run.
    """

    first: int
    but: list[int]
    under_way: set[int]


class KnownTrials:
    """Trials by id, in the order of their numbers.

    Trials that are changed are replaced: who read one before keeps what was read.
    """

    def __init__(self) -> None:
        self._trials: dict[int, FrozenTrial] = {}
        # The same by number, until one of them changes.
        self._listed: list[FrozenTrial] | None = None
        # Ids of those that have not ended.
        self._open: set[int] = set()
        # Numbers of all, and the lowest that is not among them.
        self._numbers: set[int] = set()
        self._missing = 0

    def __getitem__(self, trial_id: int) -> FrozenTrial:
        return self._trials[trial_id]

    def put(self, trial: FrozenTrial) -> None:
        """Put a trial in the place of an earlier state of it."""
        self._trials[trial._trial_id] = trial
        self._listed = None
        if trial.state.is_finished():
            self._open.discard(trial._trial_id)
        else:
            self._open.add(trial._trial_id)

    def take(self, read: Iterable[FrozenTrial]) -> None:
        """Take over trials that were read."""
        last = next((trial.number for trial in reversed(self._trials.values())), -1)
        late = False
        for trial in sorted(read, key=lambda trial: trial.number):
            late |= trial.number < last and trial._trial_id not in self._trials
            self._numbers.add(trial.number)
            self.put(trial)
        if late:
            self._trials = dict(sorted(self._trials.items(), key=lambda item: item[1].number))
        while self._missing in self._numbers:
            self._missing += 1

    def all(self) -> list[FrozenTrial]:
        """Return all trials by number: the same list until one of them changes, which nobody else may change."""
        if self._listed is None:
            self._listed = list(self._trials.values())
        return self._listed

    def unread(self, own: Set[int], taken: Set[int]) -> Unread:
        """Return which trials to read: those that are new here, and others' that began or ended meanwhile.

        Args:
            own: Ids of this worker's trials, of which memory is ahead of the database.
            taken: Ids of those that it has just claimed, and does not know what others did.
        """
        # Memory is right about trials that have ended.
        unsettled = (self._open - own) | (taken & self._trials.keys())
        first = min((self._trials[trial_id].number for trial_id in unsettled), default=self._missing)
        first = min(first, self._missing)
        later: list[int] = []
        for trial_id, trial in reversed(self._trials.items()):
            if trial.number <= first:
                break
            if trial_id not in unsettled:
                later.append(trial_id)
        # With many workers most are under way: what they report meanwhile concerns nobody here before they end.
        under_way = {
            trial_id
            for trial_id in self._open - taken
            if self._trials[trial_id].state == TrialState.RUNNING and STARTED in self._trials[trial_id].user_attrs
        }
        return Unread(first, later[::-1], under_way)
