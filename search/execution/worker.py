"""A worker of a study: claims trials and finals, writes what becomes of them, gives back what it does not finish."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

import optuna
from optuna.trial import Trial, TrialState

from ...objectives.strategies.catalog import STRATEGIES
from ...storage.database.control import RUN
from ...storage.database.leases import Keeper
from ...storage.database.tickets import Lease, show
from ...storage.errors import StorageError
from ..records import TrialRecord
from ..sampling.budget import Allotment
from ..sampling.pruner import StrategyPruner
from ..sampling.sampler import StrategySampler
from ..sampling.trial_costs import trial_costs
from ..space.space import optuna_name
from ..stopping import Stopper
from ..study.results import StudyFacts
from ..study.settings import StudySettings
from ..study.study import Study, open_storage, trial_record
from .leased_storage import HeldStorage

# How long a worker that says nothing is waited for. What is cut off on the same machine is noticed at once.
LEASE_SECONDS = float(os.environ.get("FROSTLINE_LEASE_SECONDS", "20"))
# How often a worker that has nothing to do looks for something.
LOOK_SECONDS = 0.5


class Worker:
    """One of the workers of a study, for one thread.

    Args:
        study: The study.
        keeper: Keeps this worker's leases alive.

    Attributes:
        study: The study.
    """

    def __init__(self, study: Study, keeper: Keeper) -> None:
        settings = study.settings
        self.study = study
        self._storage = HeldStorage(
            open_storage(study.workspace), study.inner._study_id, study.tickets, keeper, study.database
        )
        self._optuna = optuna.load_study(
            study_name=settings.name,
            storage=self._storage,
            sampler=create_sampler(settings, study.facts),
            pruner=StrategyPruner(),
        )
        self._keeper = keeper

    def claim(self, limit: int = 1) -> list[Trial]:
        """Take the first trials that nobody works on; none if there are none just now.

        One that was cut off keeps its parameters and what it reported.

        Args:
            limit: How many at most.

        Raises:
            UnreachableError: The database cannot be used.
        """
        claimed = [trial_id for trial_id, _ in self._storage.claim(limit)]
        for trial_id in claimed:
            self._optuna.sampler.before_trial(self._optuna, self._storage.get_trial(trial_id))
        return [Trial(self._optuna, trial_id) for trial_id in claimed]

    def lease(self, trial: Trial) -> Lease:
        """The claim on a trial."""
        return self._storage.lease(trial._trial_id)

    def require(self, lease: Lease) -> None:
        """See that a claim still holds, before something is written under it elsewhere than in the database.

        Raises:
            LeaseLostError: Another worker has it now.
            UnreachableError: The database does not say.
        """
        self._storage.require(lease)

    def came_further(self, lease: Lease) -> None:
        """Who goes on with what was claimed begins later than this worker did: that earlier ones died is forgiven."""
        self.study.database.patiently(partial(show, lease=lease, seconds=self._keeper.seconds, progress=True))

    def reported(self, trial: Trial) -> set[int]:
        """Epochs that a trial has reported, to whichever worker."""
        return set(self._storage.get_trial(trial._trial_id).intermediate_values)

    def write(self) -> None:
        """Have in the database what is known of the trials: before what builds on it is kept elsewhere.

        Raises:
            LeaseLostError: A trial is another worker's by now.
            UnreachableError: The database cannot be used.
        """
        self._storage.flush()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Have in the database all that is noted of trials while within, or nothing of it."""
        with self._storage.together():
            yield

    def tell(self, trial: Trial, score: float | None, state: TrialState) -> TrialRecord:
        """End a trial.

        Raises:
            LeaseLostError: It is another worker's by now; nothing was written.
            UnreachableError: The database cannot be used.
        """
        return trial_record(self._optuna.tell(trial, score, state=state))

    def give_back(self) -> None:
        """Let others have what this worker has not finished."""
        self._storage.give_back()

    def claim_final(self) -> Lease | None:
        """Take a training of a finalist; None if there is none just now."""
        asked = self._keeper.now()
        claim = partial(self.study.final_tickets.claim, owner=self._keeper.owner, seconds=self._keeper.seconds)
        leases = self.study.database.patiently(claim)
        self._keeper.add(leases, asked)
        return leases[0] if leases else None

    def drop_final(self, lease: Lease) -> None:
        """End the ticket of a final that is not needed any more."""
        self._keeper.forget(lease)
        self.study.database.patiently(partial(show, lease=lease, seconds=0.0, done=True))

    def ended_final(self, lease: Lease) -> None:
        """A final was recorded, and its ticket ended with it."""
        self._keeper.forget(lease)


def create_sampler(settings: StudySettings, facts: StudyFacts) -> StrategySampler:
    """The sampler of a study."""
    # Who reads a finished study does without the plugins of its strategies.
    known = [STRATEGIES[name] for name in settings.strategies if name in STRATEGIES]
    controls = [strategy.name for strategy in known if not strategy.pretrained]
    allotment = Allotment(
        settings.trials, trial_costs(settings.space, facts.frozen_flops), controls, facts.counts.get("val")
    )
    defaults = {
        strategy: {optuna_name(strategy, name): value for name, value in settings.space.default(strategy).items()}
        for strategy in settings.strategies
    }
    return StrategySampler(allotment, seed=settings.seed, defaults=defaults)


@contextmanager
def at_work(study: Study, stopper: Stopper | None = None) -> Iterator[Worker]:
    """Be one of a study's workers while within; what is not finished then is given back.

    Args:
        study: The study.
        stopper: Asked to stop when somebody wishes it for all workers.
    """

    def look() -> None:
        if stopper is not None and study.wish.get(patience=0.0) != RUN:
            stopper.ask()

    keeper = Keeper(study.database, LEASE_SECONDS, look=look)
    try:
        worker = Worker(study, keeper)
        try:
            yield worker
        finally:
            # Where the database is away, leases lapse by themselves; why the work ended matters more.
            with suppress(StorageError):
                worker.give_back()
    finally:
        with suppress(StorageError):
            keeper.close()
