"""What a study has found so far, as plain records that every reader shares: verdict, live view, report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..objectives.metrics import METRICS, score

# The parameter that every trial has.
STRATEGY = "strategy"
FINISHED = ("complete", "pruned", "failed")
STATES = ("waiting", "running", *FINISHED)


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: Of the Optuna trial, from 0.
        state: One of :data:`STATES`.
        strategy: None while it waits.
        config: Active parameters by dotted name.
        score: Best validation score, in [0, 1]; of a pruned trial the last one.
        curve: Validation score by epoch.
        seconds: Wall time.
        trainable_parameters: Of the last phase.
        freeze_depth: Units frozen in the last phase.
        reason: Why it failed.
        finished: When it ended.
        epochs: How many it trains at most; None before it begins, and in studies from before this was kept.
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


@dataclass(frozen=True)
class FinalRecord:
    """A finalist, trained once with one seed and tested.

    Attributes:
        strategy: Its strategy.
        trial_number: The trial whose configuration it is.
        seed: Of this repetition.
        val_score: Validation score, in [0, 1].
        test_score: The metric on the test split, in [0, 1].
        seconds: Wall time of the training.
        trainable_parameters: Of the last phase.
        labels: True classes of the test images (N,).
        probabilities: Of the classes (N, K).
        classes_only: Whether only predicted classes are known, as of finals before probabilities were kept; the
            probabilities are then one-hot.
    """

    strategy: str
    trial_number: int
    seed: int
    val_score: float
    test_score: float
    seconds: float
    trainable_parameters: int
    labels: NDArray[np.int64] = field(repr=False)
    probabilities: NDArray[np.float32] = field(repr=False)
    classes_only: bool = False

    @property
    def predictions(self) -> NDArray[np.int64]:
        """Predicted classes (N,)."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every metric on the test split by name; those of predicted classes where only these are known."""
        known = [name for name, metric in METRICS.items() if metric.of_classes or not self.classes_only]
        return {name: score(name, self.probabilities, self.labels) for name in known}


@dataclass(frozen=True)
class StrategySummary:
    """Where one strategy stands.

    Attributes:
        strategy: Its name.
        complete: Trials that ended with a score.
        pruned: Trials stopped early.
        failed: Trials that failed.
        running: Trials in flight.
        best: The complete trial of the highest validation score.
        seconds: Wall time of all its trials.
    """

    strategy: str
    complete: int
    pruned: int
    failed: int
    running: int
    best: TrialRecord | None
    seconds: float


def best_trial(trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The complete trial of the highest score; of equals, the one that trains fewer weights, then the earlier."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.score is not None]
    return max(
        complete, key=lambda trial: (trial.score, -(trial.trainable_parameters or 0), -trial.number), default=None
    )


def summarise(trials: Sequence[TrialRecord], strategies: Sequence[str]) -> list[StrategySummary]:
    """One summary a strategy, in the order given."""
    return [_summary(name, [trial for trial in trials if trial.strategy == name]) for name in strategies]


def _summary(strategy: str, trials: Sequence[TrialRecord]) -> StrategySummary:
    count = {state: sum(trial.state == state for trial in trials) for state in STATES}
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
    """Trials that count against the budget: complete, pruned or failed."""
    return sum(trial.state in FINISHED for trial in trials)
