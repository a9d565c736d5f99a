"""Rules that stop a trial before its last epoch, for replays of a search."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from frostline.search.records import TrialRecord
from frostline.search.sampling.pruner import MIN_COMPARED


class StoppingRule(Protocol):
    """Decides after each epoch whether a trial goes on."""

    def ends(self, trial: TrialRecord, history: Sequence[TrialRecord]) -> str | None:
        """Return the state in which the trial ends here; None if it goes on.

        Args:
            trial: Running trial, with the scores of its epochs so far.
            history: Trials that ended before.

        Returns:
            ``pruned`` if it is discarded; ``complete`` if it may become a finalist, which is trained in full.
        """
        ...


class Unstopped:
    """Trains every trial to its end."""

    def ends(self, trial: TrialRecord, history: Sequence[TrialRecord]) -> str | None:
        return None


@dataclass(frozen=True)
class MedianRule:
    """Discards a trial whose best score is below the median of complete trials at the same epoch (Golovin et al. 2017).

    These are the decisions of Optuna's ``MedianPruner``, in a twentieth of its time, which a replay needs; tests
    compare them with its own. The defaults are Optuna's.

    Attributes:
        startup: Number of complete trials before the rule acts.
        warmup: Number of epochs of a trial before the rule acts.
        compared: Number of complete trials that an epoch must have.
        within: Whether only trials of the same strategy are compared.
    """

    startup: int = 5
    warmup: int = 0
    compared: int = 1
    within: bool = False

    def ends(self, trial: TrialRecord, history: Sequence[TrialRecord]) -> str | None:
        epoch = len(trial.curve) - 1
        if epoch < self.warmup:
            return None
        complete = [other for other in self._rivals(trial, history) if other.state == "complete"]
        scores = [other.curve[epoch] for other in complete if epoch in other.curve]
        if len(complete) < self.startup or len(scores) < self.compared:
            return None
        return "pruned" if max(trial.curve.values()) < median(scores) else None

    def _rivals(self, trial: TrialRecord, history: Sequence[TrialRecord]) -> Iterable[TrialRecord]:
        return (other for other in history if other.strategy == trial.strategy) if self.within else history


# The decisions of frostline.search.sampling.StrategyPruner.
STRATEGY_MEDIAN = MedianRule(startup=MIN_COMPARED, warmup=2, compared=MIN_COMPARED, within=True)


@dataclass(frozen=True)
class FixedEpochs:
    """Ends every trial after a share of its strategy's epochs (Egele et al., arXiv 2404.04111: 1-epoch and i-epoch).

    Attributes:
        share: Share of the epochs of the configuration; at least one epoch is trained.
    """

    share: float

    def ends(self, trial: TrialRecord, history: Sequence[TrialRecord]) -> str | None:
        epochs = max(1, round(self.share * (trial.epochs or 1)))
        return "complete" if len(trial.curve) >= epochs else None


@dataclass(frozen=True)
class SuccessiveHalving:
    """Discards a trial that is not among the best of its strategy at a rung (asynchronous; Li et al. 2020).

    Attributes:
        first: Number of epochs of the first rung.
        factor: A rung has this many times the epochs of the one before; one of so many trials goes on.
    """

    first: int = 2
    factor: int = 3

    def ends(self, trial: TrialRecord, history: Sequence[TrialRecord]) -> str | None:
        epochs = len(trial.curve)
        rung = round(math.log(epochs / self.first, self.factor)) if epochs >= self.first else -1
        if rung < 0 or epochs != self.first * self.factor**rung:
            return None
        own, *others = (
            max(score for epoch, score in each.curve.items() if epoch < epochs)
            for each in (trial, *history)
            if each.strategy == trial.strategy and len(each.curve) >= epochs
        )
        better = sum(other > own for other in others)
        return "pruned" if better >= max(1, (len(others) + 1) // self.factor) else None
