"""Everything a process needs to work on a study: the study held exclusively, its task on a device, its tracker."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from ...objectives.data.dataset import ImageDataset
from ...objectives.devices import choose_device
from ...objectives.features.feature_store import FeatureStore
from ...objectives.finetune import Task
from ...objectives.networks.backbone_pool import BackbonePool
from ...objectives.training.stages import Stages
from ...storage.database.leases import let_ended_lapse
from ...storage.database.tickets import Lease, Tickets
from ...storage.files.checkpoint_places import CheckpointPlace
from ...storage.files.checkpoints import Checkpoints
from ...storage.files.feature_files import FeatureFiles
from ...storage.locks import exclusive
from ...storage.tracking.tracker import StudyTracker, Tracker
from ..records import FINISHED
from ..slots.resources import ProcessResources
from ..stopping import Stopper
from ..study.observer import Observer
from ..study.study import Study
from ..tracking.keys import curve_key, final_key, trial_key
from ..tracking.provenance import parent_tags
from ..tracking.system_metrics import sampled
from ..tracking.training_runs import finish_trial_run
from .worker import LOOK_SECONDS, Worker, at_work

Claimed = TypeVar("Claimed")

# A stage is held while it is trained: with so many locks, workers seldom wait for another stage than their own.
_STAGE_LOCKS = 1024


@dataclass(frozen=True)
class Session:
    """One process at work on one study.

    Attributes:
        study: The study.
        worker: Claims its trials and writes them.
        dataset: Its data; the test split stays sealed in it until the finals.
        task: What the trials share.
        tracker: Its MLflow side.
        observer: Told what happens.
        stopper: Knows whether to stop.
        retries: How often a training is begun again that something unexpected ended.
        place: Where checkpoints are.
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

    def claims(self, claim: Callable[[], Claimed | None], tickets: Tickets) -> Iterator[Claimed]:
        """What this worker claims, until nothing is left to do, here or elsewhere.

        Args:
            claim: Takes something; None, or empty, where there is nothing just now: the last ones are with other
                workers then, and come here should those end before them.
            tickets: Of what is claimed.

        Raises:
            Stopped: Somebody asked for it.
        """
        while (found := claim()) or not tickets.exhausted():
            self.stopper.check()
            if found:
                yield found
            else:
                time.sleep(LOOK_SECONDS)

    def own_checkpoints(self, key: str) -> SessionCheckpoints:
        """Of the training of a key that nobody else trains: the study is held."""
        # Whoever goes on with it does so later.
        return SessionCheckpoints(self.place.checkpoints(key, int(time.time())), self, None)

    def checkpoints(self, key: str, lease: Lease) -> SessionCheckpoints:
        """Of the training of a key, which this worker has by a lease."""
        kept = self.place.checkpoints(key, lease.token)
        if lease.lapses:
            # Whoever is killed next shall have come further than the one before.
            kept.hasten()
        return SessionCheckpoints(kept, self, lease)


@dataclass(frozen=True)
class SessionCheckpoints:
    """Checkpoints of a training, each written after the reports of its epochs: who goes on from it has them.

    A worker that has lost its lease, because it was suspended or cut off, writes none: :meth:`save` raises.
    """

    kept: Checkpoints
    session: Session
    lease: Lease | None

    def save(self, state: Callable[[], bytes]) -> None:
        def reported() -> bytes:
            if self.lease is not None:
                self.session.worker.require(self.lease)
            self.session.worker.write()
            return state()

        if self.kept.save(reported, now=self.session.stopper.asked) and self.lease is not None and self.lease.lapses:
            self.session.worker.came_further(self.lease)
        self.session.stopper.check()

    def load(self) -> bytes | None:
        return self.kept.load()

    def remove(self) -> None:
        self.kept.remove()


@contextmanager
def supervise(study: Study, observer: Observer, tracking_uri: str | None = None) -> Iterator[StudyTracker]:
    """Hold a study on this machine, and have MLflow told what becomes of it; workers work on it meanwhile.

    Args:
        study: The study.
        observer: Told what happens.
        tracking_uri: Of MLflow, if it is reached from here by another than the study's.

    Raises:
        StudyBusyError: Another process of this machine holds it.
        StorageError: What the study is to leave in the workspace cannot be written.
    """
    with exclusive(study.workspace, study.settings.name), closing(_tracker(study, observer, tracking_uri)) as tracker:
        let_ended_lapse(study.database, study.settings.name)
        _close_finished_runs(study, tracker, observer)
        try:
            yield tracker
        except BaseException:
            for _, run in tracker.unfinished():
                run.finish("KILLED")
            raise


@contextmanager
def parent_run(tracker: StudyTracker) -> Iterator[None]:
    """Have the parent run end as the search does."""
    try:
        yield
    except BaseException as error:
        tracker.parent_run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.parent_run.finish("FINISHED")


@contextmanager
def open_session(
    study: Study,
    dataset: ImageDataset,
    backbones: BackbonePool,
    resources: ProcessResources,
    tracker: Tracker,
    observer: Observer,
) -> Iterator[Session]:
    """Work on a study; what is cut off is given back, whatever cuts it off."""
    chosen = choose_device(resources.device)
    train, val = dataset.search_splits()
    store = FeatureStore.open(chosen, resources.cache_bytes, FeatureFiles(study.workspace.features))
    stages = Stages(FeatureFiles(study.workspace.stages, "stage", _STAGE_LOCKS), store.disk_budget)
    task = Task(train, val, backbones, study.settings.metric, chosen, store, stages)
    stopper = Stopper()
    with stopper.listening(), at_work(study, stopper) as worker:
        study.record_run(describe_device(chosen))
        # Collecting garbage after each trial looks at what came with the trial only, not at all the libraries.
        gc.collect()
        gc.freeze()
        try:
            with sampled(tracker, chosen):
                place, retries = study.checkpoints(observer.note), resources.retries
                yield Session(study, worker, dataset, task, tracker, observer, stopper, retries, place)
        finally:
            gc.unfreeze()


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"


def _tracker(study: Study, observer: Observer, uri: str | None) -> StudyTracker:
    return StudyTracker(
        uri or study.tracking_uri, study.workspace, study.settings.name, parent_tags(study), note=observer.note
    )


def _close_finished_runs(study: Study, tracker: StudyTracker, observer: Observer) -> None:
    """End the runs whose training ended just before a kill, and remove their checkpoints."""
    trials = {trial_key(trial.number): trial for trial in study.trials() if trial.state in FINISHED}
    finals = {final_key(*identity) for identity in study.final_identities()}
    finals |= {curve_key(*identity) for identity in study.curve.trained()}
    study.checkpoints(observer.note).sweep(trials.keys() | finals)
    unfinished = dict(tracker.unfinished())
    for key, run in (unfinished | dict(tracker.cut_off())).items():
        if key in trials:
            trial = trials[key]
            finish_trial_run(run, trial, study.settings.backbone, study.outcome(trial.number))
        elif key in finals:
            run.finish("FINISHED")
        elif key in unfinished:
            run.finish("KILLED")
