"""A worker of a study: claims trials and finals, writes their results, releases what it does not finish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import optuna
from optuna.trial import Trial, TrialState

from ...objectives.strategies import STRATEGIES
from ...storage.database import RUN, Lease, LeaseKeeper, credit_progress, finish, release_crashed
from ...storage.errors import LeaseLostError, StorageError
from ..records import TrialRecord
from ..sampling import WARMUP_EPOCHS, WARMUP_FOLDS, BudgetAllocation, StrategyPruner, StrategySampler, costs_by_strategy
from ..space import optuna_name
from ..stopping import Stopper
from ..study import Study, StudyFacts, StudySettings, issue_further, open_storage, trial_record
from .early_end import EarlyEnd
from .leased_storage import LeasedStorage


class Worker:
    """A worker of a study, for use by one thread.

    Args:
        study: Study to work on.
        keeper: LeaseKeeper that renews this worker's leases.

    Attributes:
        study: Study to work on.
    """

    def __init__(self, study: Study, keeper: LeaseKeeper) -> None:
        settings = study.settings
        self.study = study
        self._storage = LeasedStorage(
            open_storage(study.workspace),
            study.optuna_id,
            study.tickets,
            keeper,
            study.database,
            study.workspace.timing,
        )
        self._optuna = optuna.load_study(
            study_name=settings.name,
            storage=self._storage,
            sampler=create_sampler(settings, study.facts),
            pruner=StrategyPruner(WARMUP_FOLDS if settings.folds else WARMUP_EPOCHS),
        )
        self._keeper = keeper
        self._early_end = EarlyEnd(study)

    def claim(self, limit: int = 1) -> list[Trial]:
        """Claim the first free trials; return an empty list if none is free, or the budget is spent.

        A search that is sure ends here, instead. One that was cut off keeps its parameters and what it reported.

        Args:
            limit: Maximum number of trials.

        Raises:
            UnreachableError: The database cannot be used.
        """
        study = self.study
        if self._early_end.asked:
            self._storage.refresh()
            self._early_end.look([trial_record(each) for each in self._storage.get_all_trials(0, deepcopy=False)])
        claimed = [trial_id for trial_id, _ in self._storage.claim(limit, study.settings.budget)]
        if not claimed and study.ending() is None and issue_further(study.tickets, study.settings):
            claimed = [trial_id for trial_id, _ in self._storage.claim(limit, study.settings.budget)]
        for trial_id in claimed:
            self._optuna.sampler.before_trial(self._optuna, self._storage.get_trial(trial_id))
        return [Trial(self._optuna, trial_id) for trial_id in claimed]

    def lease(self, trial: Trial) -> Lease:
        """Return the lease of a trial.

        Raises:
            LeaseLostError: Another worker has the trial now.
        """
        return self._storage.lease(trial._trial_id)

    def lapses(self, trial: Trial) -> int:
        """Return how many workers crashed while they had a trial; 0 if another worker has it now."""
        try:
            return self.lease(trial).lapses
        except LeaseLostError:
            return 0

    def require(self, lease: Lease) -> None:
        """Check that a lease is valid, before writing under it outside the database.

        Raises:
            LeaseLostError: Another worker has the lease now.
            UnreachableError: The database does not answer.
        """
        self._storage.require(lease)

    def spend(self, trial: Trial, seconds: float) -> None:
        """Count device seconds of a trial; those of a trial that another worker has now do not count."""
        self._storage.spend(trial._trial_id, seconds)

    def reset_interruptions(self, lease: Lease) -> None:
        """A checkpoint was written: reset the ticket's interruption count."""
        self.study.database.run_with_retry(partial(credit_progress, lease=lease, seconds=self._keeper.seconds))

    def reported(self, trial: Trial) -> set[int]:
        """Return the epochs that a trial has reported, in all workers."""
        return set(self._storage.get_trial(trial._trial_id).intermediate_values)

    def write(self, lease: Lease | None = None) -> None:
        """Write all pending changes of the trials to the database, before dependent data are written elsewhere.

        Args:
            lease: Lease whose loss matters here; by default that of any trial. A trial that was lost beside it raises
                at its own next change.

        Raises:
            LeaseLostError: Another worker has the trial now.
            UnreachableError: The database cannot be used.
        """
        try:
            self._storage.flush()
        except LeaseLostError:
            if lease is None:
                raise
            self.require(lease)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write all changes of trials made within the context in one transaction."""
        with self._storage.together():
            yield

    def tell(self, trial: Trial, score: float | None, state: TrialState) -> TrialRecord:
        """End a trial and return its record.

        Raises:
            LeaseLostError: Another worker has the trial now; nothing was written.
            UnreachableError: The database cannot be used.
        """
        return trial_record(self._optuna.tell(trial, score, state=state))

    def release(self) -> None:
        """Release this worker's unfinished trials to other workers."""
        self._storage.release()

    def claim_final(self) -> Lease | None:
        """Claim the training of a finalist; return None if none is free."""
        asked = self._keeper.now()
        claim = partial(self.study.final_tickets.claim, owner=self._keeper.owner, seconds=self._keeper.seconds)
        leases = self.study.database.run_with_retry(claim)
        self._keeper.add(leases, asked)
        return leases[0] if leases else None

    def drop_final(self, lease: Lease) -> None:
        """End the ticket of a final that is no longer needed."""
        self._keeper.forget(lease)
        self.study.database.run_with_retry(partial(finish, lease=lease))

    def crash_final(self, lease: Lease) -> None:
        """Release a final that cost this process its device, and count that as a crash."""
        self._keeper.forget(lease)
        self.study.database.run_with_retry(partial(release_crashed, lease=lease))

    def ended_final(self, lease: Lease) -> None:
        """Forget the lease of a recorded final, whose ticket is done."""
        self._keeper.forget(lease)


def create_sampler(settings: StudySettings, facts: StudyFacts) -> StrategySampler:
    """Return the sampler of a study."""
    # A process that only reads a study does not import the plugins of its strategies.
    known = [STRATEGIES[name] for name in settings.strategies if name in STRATEGIES]
    controls = [strategy.name for strategy in known if not strategy.pretrained]
    allotment = BudgetAllocation(
        settings.planned_trials,
        costs_by_strategy(settings.space, facts.frozen_flops),
        controls,
        # A search that may end early completes the floors first, of those behind too: it is never sure before.
        facts.val_images if settings.stop_when_sure is None else None,
        one_each=settings.budget is not None,
    )
    starts = {
        strategy: [
            {optuna_name(strategy, name): value for name, value in values.items()}
            for values in settings.first_values(strategy)
        ]
        for strategy in settings.strategies
    }
    return StrategySampler(allotment, seed=settings.seed, starts=starts, name=settings.sampler)


@contextmanager
def open_worker(study: Study, stopper: Stopper | None = None) -> Iterator[Worker]:
    """Open a worker of a study while the context is open; then release its unfinished trials.

    Args:
        study: Study to work on.
        stopper: Stop request to set when all workers are paused or stopped.
    """

    def look() -> None:
        if stopper is not None and study.wish.get(patience=0.0) != RUN:
            stopper.ask()

    keeper = LeaseKeeper(study.database, study.workspace.timing.lease, look=look)
    try:
        worker = Worker(study, keeper)
        try:
            yield worker
        finally:
            # If the database does not answer, the leases expire by themselves; the first error matters more.
            with suppress(StorageError):
                worker.release()
    finally:
        with suppress(StorageError):
            keeper.close()
