"""Plain records of a study's trials and finals, which verdict, live view and report share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..objectives.calibration import CALIBRATED_METRICS, calibrate
from ..objectives.metrics import METRICS, score
from ..storage.errors import StorageError

# The parameter that every trial has.
STRATEGY = "strategy"
# User attribute of trials that train together: the number of the first of them.
BATCH = "frostline:batch"
FINISHED = ("complete", "pruned", "failed")
STATES = ("waiting", "running", *FINISHED)
# What ended a trial that counts as pruned, other than the pruner.
BUDGET = "budget"
# What the database keeps of a final's scores and costs, by these names.
_ROW = ("strategy", "trial_number", "val_score", "test_score", "seconds", "trainable_parameters")
# What it keeps besides; older versions do not.
_LATER = ("temperature", "measured", "device_seconds", "latency", "size")


@dataclass(frozen=True)
class FoldRecord:
    """The training of a trial on one fold.

    Attributes:
        score: Best validation score, in [0, 1].
        epochs: Number of epochs that were trained.
        measured: Costs, checks and metrics of the training.
    """

    score: float
    epochs: int
    measured: Mapping[str, Any] = field(default_factory=dict, repr=False)


def mean_score(folds: Sequence[FoldRecord]) -> float:
    """Return the mean score of folds.

    >>> mean_score([FoldRecord(0.5, epochs=3), FoldRecord(1.0, epochs=2)])
    0.75
    """
    return sum(fold.score for fold in folds) / len(folds)


@dataclass(frozen=True)
class TrialRecord:
    """A trial.

    Attributes:
        number: Number of the trial, from 0.
        state: One of :data:`STATES`.
        strategy: Name of the strategy; None while the trial waits.
        config: Active parameters by dotted name.
        score: Best validation score, in [0, 1]; for a trial that the pruner ended, the last score. Over folds, the mean
            of theirs.
        curve: Validation scores by epoch; over folds, after each fold the mean score of the folds so far.
        seconds: Wall time of the training.
        trainable_parameters: Number of parameters that train in the last phase.
        freeze_depth: Number of units frozen in the last phase.
        reason: Reason of a failure, or of an end by the budget.
        finished: Time when the trial ended.
        epochs: Maximum number of epochs, or of folds; None before the trial starts, and in older studies.
        final_failed: Reason why its configuration could not be trained again; None if it could, or was not tried.
        log_loss: Log loss on the validation images by the kept weights, in nats; None unless complete.
        ended_by: :data:`BUDGET` if the end of the study's budget ended the trial, whose state is then ``pruned``.
        folds: Its trainings on the folds so far; empty without folds.
    """

    number: int
    state: str
    strategy: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    score: float | None = None
    curve: dict[int, float] = field(default_factory=dict)
    seconds: float | None = None
    trainable_parameters: int | None = None
    freeze_depth: int | None = None
    reason: str | None = None
    finished: datetime | None = None
    epochs: int | None = None
    final_failed: str | None = None
    log_loss: float | None = None
    ended_by: str | None = None
    folds: tuple[FoldRecord, ...] = ()

    @property
    def trainings(self) -> int:
        """Return the number of trainings that the score is the mean of."""
        return max(1, len(self.folds))

    @property
    def epochs_trained(self) -> int:
        """Return the number of epochs that were trained, of all folds."""
        return sum(fold.epochs for fold in self.folds) if self.folds else len(self.curve)

    @property
    def ranked(self) -> bool:
        """Return whether the score is one of those from which the best is chosen.

        What the pruner ended trailed; what the budget ended may lead, and its configuration can be trained to its end.
        """
        return self.score is not None and (self.state == "complete" or self.ended_by == BUDGET)


def finalist_name(strategy: str, trial_number: int) -> str:
    """Return the name of a configuration that is retrained.

    >>> finalist_name("lp_ft", 7)
    'lp_ft-7'
    """
    return f"{strategy}-{trial_number}"


def read_finalist(name: str) -> tuple[str, int]:
    """Return strategy and trial number from the name of a configuration that is retrained.

    >>> read_finalist("lp_ft-7")
    ('lp_ft', 7)
    """
    strategy, _, number = name.rpartition("-")
    return strategy, int(number)


@dataclass(frozen=True)
class FinalScores:
    """Scores and costs of a final: a finalist trained with one seed and tested; without predictions.

    Attributes:
        strategy: Name of the strategy.
        trial_number: Number of the trial whose configuration was retrained.
        seed: Seed of the training.
        val_score: Validation score, in [0, 1].
        test_score: Score on the test split by the study's metric, in [0, 1].
        seconds: Wall time of the training.
        trainable_parameters: Number of parameters that train in the last phase.
        temperature: Temperature fitted on the validation images, see :mod:`~frostline.objectives.calibration`; None
            if an older version recorded the final.
        measured: Further costs and metrics of the training that MLflow shows; older versions recorded none.
        device_seconds: Time of the training on its device: on a CPU, processor time of all threads; on a GPU, which a
            training holds, wall time. None, as the next ones, if not measured.
        latency: Median time of a forward pass of one image by the trained network, seconds.
        size: Size of the trained network, bytes.
    """

    strategy: str
    trial_number: int
    seed: int
    val_score: float
    test_score: float
    seconds: float
    trainable_parameters: int
    temperature: float | None = field(default=None, kw_only=True)
    measured: Mapping[str, float] = field(default_factory=dict, kw_only=True, repr=False, compare=False)
    device_seconds: float | None = field(default=None, kw_only=True)
    latency: float | None = field(default=None, kw_only=True)
    size: int | None = field(default=None, kw_only=True)

    @property
    def finalist(self) -> str:
        """Return the name of the configuration, which all its seeds share."""
        return finalist_name(self.strategy, self.trial_number)

    @property
    def identity(self) -> tuple[str, int, int]:
        """Strategy, trial number and seed."""
        return self.strategy, self.trial_number, self.seed

    def to_row(self) -> dict[str, Any]:
        """Return the plain values to keep in the database; the seed has a column of its own."""
        return {name: getattr(self, name) for name in _ROW + _LATER}

    @staticmethod
    def from_row(row: Mapping[str, Any], seed: int) -> FinalScores:
        """Return the scores that :meth:`to_row` gave, of this or another version.

        Args:
            row: Plain values; those that this version does not know are ignored.
            seed: Seed of the training.

        Raises:
            StorageError: Values are missing; says which.
        """
        if missing := [name for name in _ROW if name not in row]:
            raise StorageError(
                f"The database has a final of strategy {row.get('strategy', 'unknown')!r}, seed {seed}, without "
                f"{', '.join(missing)}: another version of Frostline recorded it. Read the study with that version."
            )
        return FinalScores(
            strategy=row["strategy"],
            trial_number=row["trial_number"],
            seed=seed,
            val_score=row["val_score"],
            test_score=row["test_score"],
            seconds=row["seconds"],
            trainable_parameters=row["trainable_parameters"],
            **{name: row[name] for name in _LATER if name in row},
        )

    def with_predictions(
        self, labels: NDArray[np.int64], probabilities: NDArray[np.floating], *, classes_only: bool = False
    ) -> FinalRecord:
        """Return the record of the same final with its predictions; arguments as in :class:`FinalRecord`."""
        return FinalRecord(
            strategy=self.strategy,
            trial_number=self.trial_number,
            seed=self.seed,
            val_score=self.val_score,
            test_score=self.test_score,
            seconds=self.seconds,
            trainable_parameters=self.trainable_parameters,
            **{name: getattr(self, name) for name in _LATER},
            labels=labels,
            probabilities=probabilities,
            classes_only=classes_only,
        )


@dataclass(frozen=True)
class FinalRecord(FinalScores):
    """A final with its predictions on the test split.

    Attributes:
        labels: True classes of the test images (N,).
        probabilities: Class probabilities of the test images (N, K), not calibrated: the score is theirs. float64;
            float32 in older studies.
        classes_only: Whether only predicted classes are known, as in older studies; the probabilities are then
            one-hot.
    """

    labels: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.floating] = field(repr=False)
    classes_only: bool = False

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Return the predicted classes (N,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Return every metric on the test split, by name; with ``classes_only``, those that need no probabilities."""
        known = [name for name, metric in METRICS.items() if metric.of_classes or not self.classes_only]
        return {name: score(name, self.probabilities, self.labels) for name in known}

    @cached_property
    def calibrated_metrics(self) -> dict[str, float]:
        """Return what calibration changes of the metrics on the test split, by name; empty without a temperature."""
        if self.temperature is None or self.classes_only:
            return {}
        calibrated = calibrate(self.probabilities, self.temperature)
        return {name: score(name, calibrated, self.labels) for name in CALIBRATED_METRICS}


@dataclass(frozen=True)
class StrategySummary:
    """The progress of a strategy.

    Attributes:
        strategy: Name of the strategy.
        complete: Number of complete trials.
        pruned: Number of pruned trials.
        failed: Number of failed trials.
        running: Number of running trials.
        best: Trial with the highest validation score of those that no pruner ended.
        seconds: Wall time of all trials.
    """

    strategy: str
    complete: int
    pruned: int
    failed: int
    running: int
    best: TrialRecord | None
    seconds: float


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """Return the ranked trial with the highest score.

    Few validation images give few different scores. Of equal ones, the lower log loss comes first, then fewer trained
    weights, then the earlier trial.

    Examples:
        >>> from frostline.search.records import TrialRecord, best_trial
        >>> scores = {0: 0.7, 1: 0.9, 2: 0.8}
        >>> best_trial([TrialRecord(number, "complete", score=score) for number, score in scores.items()]).number
        1"""
    return min((trial for trial in trials if trial.ranked), key=_rank, default=None)


def best_trials(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the ranked trials in the order of :func:`best_trial`, the best first."""
    return sorted((trial for trial in trials if trial.ranked), key=_rank)


def _rank(trial: TrialRecord) -> tuple[float, float, int, int]:
    """Older versions recorded no log loss: those come last of equals."""
    log_loss = math.inf if trial.log_loss is None else trial.log_loss
    return -(trial.score or 0.0), log_loss, trial.trainable_parameters or 0, trial.number


def summarize(trials: Sequence[TrialRecord], strategies: Sequence[str]) -> list[StrategySummary]:
    """Return one summary per strategy, in the given order."""
    own: dict[str | None, list[TrialRecord]] = {name: [] for name in strategies}
    for trial in trials:
        own.setdefault(trial.strategy, []).append(trial)
    return [_summary(name, own[name]) for name in strategies]


def _summary(strategy: str, trials: Sequence[TrialRecord]) -> StrategySummary:
    count = Counter(trial.state for trial in trials)
    return StrategySummary(
        strategy=strategy,
        complete=count["complete"],
        pruned=count["pruned"],
        failed=count["failed"],
        running=count["running"],
        best=best_trial(trials),
        seconds=sum(trial.seconds or 0.0 for trial in trials),
    )


def finished(trials: Sequence[TrialRecord]) -> int:
    """Return the number of trials that count towards the budget: complete, pruned or failed."""
    return sum(trial.state in FINISHED for trial in trials)
