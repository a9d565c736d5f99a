"""Everything a process needs to work on a study: the study held exclusively, its task on a device, its tracker."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib.metadata import version

import torch

from ..objectives.cache_policy import parse_size
from ..objectives.dataset import ImageDataset
from ..objectives.devices import choose_device
from ..objectives.feature_store import FeatureStore
from ..objectives.finetune import BackbonePool, Task
from ..storage.checkpoints import CheckpointFolder
from ..storage.feature_files import FeatureFiles
from ..storage.locks import exclusive
from ..storage.tracking import StudyTracker
from .progress import Observer
from .provenance import command_line, git_tags
from .records import FINISHED
from .study import Study
from .system_metrics import sampled
from .tracked import describe_datasets, finish_trial_run


@dataclass(frozen=True)
class Session:
    """One process at work on one study.

    Attributes:
        study: The study.
        dataset: Its data; the test split stays sealed in it until the finals.
        task: What the trials share.
        tracker: Its MLflow side.
        observer: Told what happens.
    """

    study: Study
    dataset: ImageDataset
    task: Task
    tracker: StudyTracker
    observer: Observer

    def checkpoints(self, key: str) -> CheckpointFolder:
        """Of the training of a key."""
        return CheckpointFolder(self.study.workspace.checkpoints(self.study.settings.name) / key)


@contextmanager
def open_session(
    study: Study, dataset: ImageDataset, backbones: BackbonePool, device: str, cache_budget: str, observer: Observer
) -> Iterator[Session]:
    """Hold a study while working on it; put back what is cut off, whatever cuts it off.

    Raises:
        StudyBusyError: Another process holds it.
        StorageError: What the study is to leave in the workspace cannot be written.
    """
    chosen = choose_device(device)
    train, val = dataset.search_splits()
    store = FeatureStore.open(chosen, parse_size(cache_budget), FeatureFiles(study.workspace.features))
    task = Task(train, val, backbones, study.settings.metric, chosen, store)
    with exclusive(study.workspace, study.settings.name), study.held(), closing(_tracker(study, observer)) as tracker:
        session = Session(study, dataset, task, tracker, observer)
        study.record_run(describe_device(chosen))
        tracker.parent_run.log_datasets(describe_datasets(dataset, study.settings.data))
        for number in study.requeue_running():
            observer.note(f"trial {number} was cut off and is taken up again")
        _close_finished_runs(session)
        # Collecting garbage after each trial looks at what came with the trial only, not at all the libraries.
        gc.collect()
        gc.freeze()
        try:
            with sampled(tracker, chosen):
                yield session
        except BaseException as error:
            study.requeue_running()
            for _, run in tracker.unfinished():
                run.finish("KILLED")
            tracker.parent_run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        finally:
            gc.unfreeze()
        tracker.parent_run.finish("FINISHED")


def describe_device(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type.upper()}, {torch.get_num_threads()} threads"


def _tracker(study: Study, observer: Observer) -> StudyTracker:
    return StudyTracker(
        study.tracking_uri, study.workspace, study.settings.name, _parent_tags(study), note=observer.note
    )


def _parent_tags(study: Study) -> dict[str, str]:
    settings, facts = study.settings, study.facts
    return {
        "frostline.data": settings.data,
        "frostline.backbone": settings.backbone,
        "frostline.weights": settings.weights,
        "frostline.metric": settings.metric,
        "frostline.fingerprint": facts.fingerprint,
        "frostline.command": command_line(),
        "frostline.version": version("frostline"),
        **git_tags(),
    }


def trial_key(number: int) -> str:
    return f"trial-{number}"


def strategy_key(strategy: str) -> str:
    return f"strategy-{strategy}"


def final_key(strategy: str, trial_number: int, seed: int) -> str:
    return f"final-{strategy}-{trial_number}-{seed}"


def _close_finished_runs(session: Session) -> None:
    """End the runs whose trial or final ended just before a kill, and remove their checkpoints."""
    study = session.study
    trials = {trial_key(trial.number): trial for trial in study.trials() if trial.state in FINISHED}
    finals = {final_key(final.strategy, final.trial_number, final.seed) for final in study.final_records()}
    for key in trials.keys() | finals:
        session.checkpoints(key).remove()
    for key, run in session.tracker.unfinished():
        if key in trials:
            trial = trials[key]
            finish_trial_run(run, trial, study.settings.backbone, study.outcome(trial.number))
        else:
            run.finish("FINISHED" if key in finals else "KILLED")
