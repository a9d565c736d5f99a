"""The device seconds of a search: counted epoch by epoch, and compared with the study's budget."""

from __future__ import annotations

import time
from collections.abc import Callable

import optuna

from ...storage.database import TicketUse
from ..study import Observer
from .worker import Worker

# Seconds for which a worker relies on what it last read of the other workers' device seconds.
_LOOK = 1.0


class BudgetSpentError(optuna.TrialPruned):
    """The budget ended during a trial."""


class DeviceTime:
    """The device seconds of a worker's trials, and the budget that they share with those of the other workers.

    A worker's device is at work from the start of a trial to its end, with all that it loads, computes and waits for.
    Its seconds are recorded with what each epoch reports. So an epoch that a kill interrupts does not count, and what
    is repeated after it counts again, since it takes its time again.

    **Guarantee:** with a budget, no worker begins an epoch after all epochs that ended before have spent it. Each may
    overrun it by the epoch in progress, to which whatever a trial does before its first epoch belongs.

    Args:
        worker: Worker that records the seconds.
        observer: Observer of the work, told what all workers have used.
        clock: Returns the seconds of a clock.
    """

    def __init__(self, worker: Worker, observer: Observer, clock: Callable[[], float] = time.perf_counter) -> None:
        self._worker = worker
        self._observer = observer
        self._clock = clock
        self._lap = clock()
        # What was read last, and when.
        self._use: TicketUse | None = None
        self._read = 0.0

    def begin(self) -> None:
        """Count from now on, as a trial starts."""
        self._lap = self._clock()

    def spend(self, trial: optuna.Trial) -> None:
        """Count the seconds since the last call as a trial's."""
        now = self._clock()
        self._worker.spend(trial, now - self._lap)
        self._lap = now

    def require(self, trial: optuna.Trial) -> None:
        """Check that the budget is not spent.

        Raises:
            BudgetSpentError: It is.
            LeaseLostError: Another worker has the trial now.
            UnreachableError: The database cannot be used.
        """
        study = self._worker.study
        if study.settings.budget is None or self._surely_left(study.settings.budget):
            return
        self._worker.write(self._worker.lease(trial))
        self._use, self._read = study.tickets.use(), self._clock()
        self._observer.budget_used(self._use.seconds)
        if self._use.seconds >= study.settings.budget:
            # Another process may have raised it.
            study.read_budget()
            if self._use.seconds >= (study.settings.budget or 0.0):
                raise BudgetSpentError

    def _surely_left(self, budget: float) -> bool:
        """Return whether something of the budget is left, whatever all workers have done since it was read.

        Each has written its seconds within a look of that time, and has had no more since than have passed; one worker
        may have joined.
        """
        since = self._clock() - self._read
        if self._use is None or since > _LOOK:
            return False
        return self._use.seconds + (self._use.workers + 1) * (since + _LOOK) < budget
