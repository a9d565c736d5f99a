"""One training of `finetune`, recorded: what a search sees of it, its test scores, and where its seconds went."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.recordings import PER_EPOCH
from frostline.objectives.config import TrialConfig, flatten
from frostline.objectives.data import ImageSplit
from frostline.objectives.epochs import EpochResult, OnEpoch
from frostline.objectives.errors import TrainingFailedError
from frostline.objectives.features import FeatureStore
from frostline.objectives.finetune import Task, finetune, predict
from frostline.objectives.metrics import score
from frostline.objectives.training import Certificate, PhaseRun, Stages

# Digits of the keys of views and stages: enough to tell thousands apart.
_DIGITS = 12


class TimedFeatures(FeatureStore):
    """A store of features that tells which views were asked for, and how long they took to compute.

    Args:
        memory: Budget in memory, bytes.
    """

    def __init__(self, memory: int) -> None:
        super().__init__(memory)
        self._asked: dict[str, float] = {}

    def take(self) -> dict[str, float]:
        """Seconds by key of the views that were asked for since the last time; NaN for those that were there."""
        taken, self._asked = self._asked, {}
        return {key[:_DIGITS]: seconds for key, seconds in taken.items()}

    def get(self, key: str, device: torch.device, image_bytes: int, compute: Callable[[], Tensor]) -> Tensor:
        self._asked.setdefault(key, float("nan"))

        def timed() -> Tensor:
            started = time.perf_counter()
            features = compute()
            self._asked[key] = time.perf_counter() - started
            return features

        return super().get(key, device, image_bytes, timed)


class Watch(Stages):
    """Watches one training: predicts the test images after each epoch, and keeps what the results leave out.

    As the task's stages it is told of each phase before it starts; it shares none, so each trial tells its own cost.

    Args:
        test: Test images.
        test_task: Task whose store keeps the features of the test images.
        store: Features of the training.

    Attributes:
        stage: Key of the first phase that could be shared; empty if there is none.
        epochs: Columns of numbers per epoch, and the ``phases``.
        views: First epoch and seconds of each view of the frozen prefix, by key.
        predictions: Predicted classes of the test images after each epoch, (T,).
        setup_seconds: Seconds from the start to the first phase.
        test_seconds: Seconds spent on the test images.
    """

    def __init__(self, test: ImageSplit, test_task: Task, store: TimedFeatures) -> None:
        super().__init__()
        self.stage = ""
        self.epochs: dict[str, list[Any]] = defaultdict(list)
        self.views: dict[str, tuple[int, float]] = {}
        self.predictions: list[NDArray[np.int64]] = []
        self.setup_seconds = self.test_seconds = 0.0
        self._test, self._test_task, self._store = test, test_task, store
        self._run: PhaseRun | None = None
        self._started, self._process = time.perf_counter(), 0.0

    @property
    def enabled(self) -> bool:
        return True

    def run_or_restore(
        self, key: str | None, run: PhaseRun, device: torch.device, train: Callable[[], Certificate], on_epoch: OnEpoch
    ) -> Certificate:
        if self._run is None:
            self.stage = (key or "")[:_DIGITS]
            self.setup_seconds = time.perf_counter() - self._started
        self._run, self._process = run, time.process_time()
        return train()

    def epoch(self, result: EpochResult) -> None:
        """Note an epoch, with the scores of the test images."""
        process_seconds, started = time.process_time() - self._process, time.perf_counter()
        assert self._run is not None
        probabilities = predict(self._run.network, self._test, self._test_task)
        self.predictions.append(probabilities.argmax(axis=1))
        values = (
            result.train_loss,
            result.score,
            result.val_loss,
            score(self._test_task.metric, probabilities, self._test.labels),
            score("log_loss", probabilities, self._test.labels),
            result.seconds,
            process_seconds,
            self._note_views(result.epoch),
        )
        for name, value in zip(("phases", *PER_EPOCH), (result.phase, *values), strict=True):
            self.epochs[name].append(value)
        self.test_seconds += time.perf_counter() - started
        self._process = time.process_time()

    def _note_views(self, epoch: int) -> float:
        """Note the views that no earlier epoch needed; returns the seconds of those that this one computed."""
        asked = self._store.take()
        for key, seconds in asked.items():
            self.views.setdefault(key, (epoch, seconds))
        return float(np.nansum(list(asked.values())))


def record(config: TrialConfig, task: Task, test: ImageSplit, test_store: FeatureStore, *, seed: int) -> dict[str, Any]:
    """Train a configuration to its end, without pruning.

    Args:
        config: Configuration.
        task: Task of the training, whose store is a :class:`TimedFeatures`.
        test: Test images.
        test_store: Store of the features of the test images.
        seed: Seed of the training.

    Returns:
        Plain values of all fields of a :class:`RecordedTrial` that the training decides.
    """
    store = task.store
    assert isinstance(store, TimedFeatures), "the features of a recording are timed"
    assert config.ema_decay == 0, "averaged weights are validated, others would be tested"
    store.take()
    started = time.perf_counter()
    watch, result, state = Watch(test, replace(task, store=test_store), store), None, "complete"
    try:
        result = finetune(config, replace(task, stages=watch), seed=seed, on_epoch=watch.epoch)
    except TrainingFailedError as error:
        state = str(error)
    known = watch.setup_seconds + watch.test_seconds + sum(watch.epochs["seconds"])
    return {
        "config": given_values(config),
        "state": state,
        "stage": watch.stage,
        **{name: watch.epochs[name] for name in ("phases", *PER_EPOCH)},
        "setup_seconds": watch.setup_seconds,
        "other_seconds": time.perf_counter() - started - known,
        "best_epoch": result.best_epoch if result else -1,
        "val_predictions": predict(result.network, task.val, task).argmax(axis=1).tolist() if result else [],
        "test_predictions": watch.predictions[result.best_epoch].tolist() if result else [],
        "frozen_operations": result.frozen_share[1] if result else 0.0,
        "trainable_parameters": result.trainable_parameters if result else 0,
        "views": list(watch.views),
        "view_epochs": [epoch for epoch, _ in watch.views.values()],
        "view_seconds": [seconds for _, seconds in watch.views.values()],
        "wall_seconds": time.perf_counter() - started,
    }


def given_values(config: TrialConfig) -> dict[str, Any]:
    """The values that a configuration was created from, by dotted name."""
    given = config.model_fields_set | {f"head.{name}" for name in config.head.model_fields_set}
    return {name: value for name, value in flatten(config).items() if name in given}
