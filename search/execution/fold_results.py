"""What the trainings of a trial on its folds come to.

A trial is trained once on each fold, with one seed and the same configuration, and its score is the mean of their
validation scores: so each image outside the test split validates once, and all trials are compared on the same images.
One fold for each trial, in turn, would take a k-th of the time, but a trial's score would then tell of its fold as much
as of its configuration. What trains expensively is pruned between folds instead.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from ...objectives.epochs import EpochResult
from ...objectives.finetune import FinetuneResult
from ..records import FoldRecord, mean_score
from ..tracking import describe

# What the folds add up to, and what the largest or smallest of them tells; other measurements of a trial are alike.
_SUMS, _LARGEST, _SMALLEST = ("seconds",), ("peak_memory_mb",), ("micro_batch",)
_MEANS = ("best_epoch", "val/")


@dataclass(frozen=True)
class FoldsResult:
    """The trainings of a trial that was trained on all folds.

    Attributes:
        folds: What each came to.
    """

    folds: tuple[FoldRecord, ...]

    @property
    def score(self) -> float:
        """Return the mean validation score."""
        return mean_score(self.folds)

    def describe(self) -> dict[str, Any]:
        """Return the costs, checks and metrics of all trainings as plain values, as those of one are described.

        Seconds are those of all folds, metrics their means, the peak memory is the largest.
        """
        names = dict.fromkeys(name for fold in self.folds for name in fold.measured)
        return {name: _joined(name, [f.measured[name] for f in self.folds if name in f.measured]) for name in names}


def _joined(name: str, values: list[Any]) -> Any:
    if name in _SUMS:
        return sum(values)
    if name in _LARGEST:
        return max(values)
    if name in _SMALLEST:
        return min(values)
    return fmean(values) if name.startswith(_MEANS) else values[0]


def record_fold(result: FinetuneResult) -> FoldRecord:
    """Return the record of a training on a fold."""
    return FoldRecord(result.score, len(result.epochs), describe(result))


def as_epoch(result: FinetuneResult, place: int, mean: float) -> EpochResult:
    """Return a training on a fold as observers hear of it: as an epoch, whose score is the mean of the folds so far."""
    best = next(epoch for epoch in result.epochs if epoch.epoch == result.best_epoch)
    return replace(best, epoch=place, phase="", score=mean, seconds=result.seconds)
