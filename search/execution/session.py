"""The session of a process that works on a study: its worker, its task on a device, its tracker."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from ...objectives.data import ImageDataset
from ...objectives.devices import choose_device
from ...objectives.features import FeatureStore
from ...objectives.finetune import Task
from ...objectives.networks import BackbonePool
from ...objectives.training import Stages
from ...storage.database import Lease
from ...storage.files import CheckpointPlace, FeatureFiles, PacedCheckpoints
from ...storage.tracking import Tracker
from ..slots import ProcessResources
from ..stopping import Stopper
from ..study import Observer, Study, precision_of
from ..tracking import sampled
from .device_time import DeviceTime
from .worker import Worker, open_worker

Claimed = TypeVar("Claimed")

# A stage is locked while it is trained; with this many locks, workers rarely wait for an unrelated stage.
_STAGE_LOCKS = 1024


@dataclass(frozen=True)
class WorkerSession:
    """A process that works on a study.

    Attributes:
        study: Study to work on.
        worker: Worker that claims and writes trials.
        dataset: Dataset, whose test split stays sealed until the finals.
        task: Task that all trials share; with folds, that of the first one.
        tracker: Tracker of the study's MLflow runs.
        observer: Observer of the work.
        stopper: Stop request of this process.
        retries: Number of retries of a training after an unexpected error.
        place: Store of the checkpoints.
        device_time: Device seconds of the trials, and the budget.
        folds: Task of each fold; empty without folds.
    """

    study: Study
    worker: Worker
    dataset: ImageDataset
    task: Task
    tracker: Tracker
    observer: Observer
    stopper: Stopper
    retries: int
    place: CheckpointPlace
    device_time: DeviceTime
    folds: tuple[Task, ...] = ()

    def final_task(self, place: int) -> Task:
        """Return the task of the finals with a seed: with folds, seeds validate on one fold after the other.

        Args:
            place: Number of the seed among those of the finals, from 0.
        """
        return self.folds[place % len(self.folds)] if self.folds else self.task

    def claims(self, claim: Callable[[], Claimed | None], ended: Callable[[], bool]) -> Iterator[Claimed]:
        """Yield what this worker claims, until no work is left on any machine.

        Args:
            claim: Function that claims work. Returns None or an empty list if other workers have the rest, which
                may return if they die.
            ended: Function that returns whether no work is left.

        Raises:
            Stopped: A stop was requested.
        """
        while (found := claim()) or not ended():
            self.stopper.check()
            if found:
                yield found
            else:
                time.sleep(self.study.workspace.timing.look)

    def own_checkpoints(self, key: str) -> SessionCheckpoints:
        """Return the checkpoints of a training without a lease: the lock of the study excludes other processes."""
        # A later process has a later time, which orders the checkpoints.
        return SessionCheckpoints(self._paced(key, int(time.time())), self.worker, self.stopper, None)

    def checkpoints(self, key: str, lease: Lease) -> SessionCheckpoints:
        """Return the checkpoints of a training under this worker's lease."""
        kept = self._paced(key, lease.token)
        if lease.lapses:
            # Save early, so that even a worker that is killed soon makes progress.
            kept.hasten()
        return SessionCheckpoints(kept, self.worker, self.stopper, lease)

    def _paced(self, key: str, token: int) -> PacedCheckpoints:
        return PacedCheckpoints(self.place.checkpoints(key, token), self.study.workspace.timing)


@dataclass(frozen=True)
class SessionCheckpoints:
    """Checkpoints of a training, each written after the reports of its epochs, so a resumed training has them.

    A worker that has lost its lease, because it was suspended or disconnected, writes none: :meth:`save` raises.
    """

    kept: PacedCheckpoints
    worker: Worker
    stopper: Stopper
    lease: Lease | None

    def save(self, state: Callable[[], bytes]) -> None:
        def reported() -> bytes:
            if self.lease is not None:
                self.worker.require(self.lease)
            self.worker.write(self.lease)
            return state()

        if self.kept.save(reported, now=self.stopper.asked) and self.lease is not None and self.lease.lapses:
            self.worker.reset_interruptions(self.lease)
        self.stopper.check()

    def load(self) -> bytes | None:
        return self.kept.load()

    def remove(self) -> None:
        self.kept.remove()


@contextmanager
def open_session(
    study: Study,
    dataset: ImageDataset,
    backbones: BackbonePool,
    resources: ProcessResources,
    tracker: Tracker,
    observer: Observer,
) -> Iterator[WorkerSession]:
    """Open a session on a study; at its end, interrupted trials are released."""
    chosen = choose_device(resources.device)
    train, val = dataset.search_splits()
    store = FeatureStore.open(chosen, resources.cache_bytes, FeatureFiles(study.workspace.features, note=observer.note))
    stages = Stages(FeatureFiles(study.workspace.stages, "stage", _STAGE_LOCKS, observer.note), store.disk_budget)
    precision = precision_of(study.facts, chosen)
    task = Task(train, val, backbones, study.settings.metric, chosen, store, stages, precision=precision)
    folds = tuple(replace(task, train=train, val=val) for train, val in dataset.folds())
    stopper = Stopper()
    with stopper.listening(), open_worker(study, stopper) as worker:
        study.record_run(describe_device(chosen))
        with sampled(tracker, chosen, study.workspace.timing.sample):
            place, retries = study.checkpoints(observer.note), resources.retries
            clock = DeviceTime(worker, observer)
            yield WorkerSession(study, worker, dataset, task, tracker, observer, stopper, retries, place, clock, folds)


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"
