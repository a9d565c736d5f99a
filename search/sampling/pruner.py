"""When to stop a trial early: against the median of its own strategy only."""

from __future__ import annotations

from optuna import Study
from optuna.pruners import BasePruner, MedianPruner
from optuna.trial import FrozenTrial

from ..records import STRATEGY
from .strategy_view import strategy_view

# The first that are compared with, and how many must have come as far: trials end early, and the one that did not is
# the best; it alone would stop the second best.
LEAST_COMPARED = 2


class StrategyPruner(BasePruner):
    """Optuna's median rule within a strategy.

    Strategies learn at different speeds: a linear probe starts fast, fine-tuning slowly. One rule for all would stop
    the slow ones (contract C7).
    """

    def __init__(self) -> None:
        self._median = MedianPruner(n_startup_trials=LEAST_COMPARED, n_warmup_steps=2, n_min_trials=LEAST_COMPARED)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        return self._median.prune(strategy_view(study, trial.params[STRATEGY]), trial)
