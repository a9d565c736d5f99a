"""The pruner: stops a trial below the median of its own strategy."""

from __future__ import annotations

from optuna import Study
from optuna.pruners import BasePruner, MedianPruner
from optuna.trial import FrozenTrial

from ..records import BATCH, STRATEGY
from .strategy_view import strategy_view

# Trials needed before pruning starts, and trials needed at an epoch to compare with. Trials end early, except the
# best: compared with it alone, the second best would be pruned.
MIN_COMPARED = 2
# Epochs before pruning starts, and folds: the score of one fold alone is that of few images.
WARMUP_EPOCHS, WARMUP_FOLDS = 2, 1


class StrategyPruner(BasePruner):
    """Optuna's median pruner, applied within a strategy.

    Strategies learn at different speeds: a linear probe starts fast, fine-tuning slowly. One median for all would
    prune the slow strategies (contract C7).

    Trials that train together are not compared with each other. So it does not matter whether they are interrupted and
    then train one at a time, when the first of them have ended before the others begin.

    Args:
        warmup: Number of reports of a trial after which it may be pruned: of epochs, or of folds.
    """

    def __init__(self, warmup: int = WARMUP_EPOCHS) -> None:
        self._median = MedianPruner(n_startup_trials=MIN_COMPARED, n_warmup_steps=warmup, n_min_trials=MIN_COMPARED)

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        others = strategy_view(study, trial.params[STRATEGY], without=trial.user_attrs.get(BATCH))
        return self._median.prune(others, trial)
