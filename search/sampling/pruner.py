"""The pruner: stops a trial below the median of its own strategy."""

from __future__ import annotations

import math

from optuna import Study
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from ..records import BATCH, STRATEGY
from .step_scores import StepScores, median

# Trials needed at an epoch to compare with. Trials end early, except the best: compared with it alone, the second best
# would be pruned.
MIN_COMPARED = 2
# Epochs before pruning starts, and folds: the score of one fold alone is that of few images.
WARMUP_EPOCHS, WARMUP_FOLDS = 2, 1


class StrategyPruner(BasePruner):
    """The rule of Optuna's median pruner, applied within a strategy.

    A trial is pruned after an epoch if its best score so far is below the median, at that epoch, of the complete
    trials. Optuna's pruner goes through all of them after every epoch; this one keeps their scores in order.

    Strategies learn at different speeds: a linear probe starts fast, fine-tuning slowly. One median for all would
    prune the slow strategies (contract C7).

    Trials that train together are not compared with each other. So it does not matter whether they are interrupted and
    then train one at a time, when the first of them have ended before the others begin.

    Args:
        warmup: Number of reports of a trial after which it may be pruned: of epochs, or of folds.
    """

    def __init__(self, warmup: int = WARMUP_EPOCHS) -> None:
        self._warmup = warmup
        self._scores: dict[str, StepScores] = {}

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        step = trial.last_step
        if step is None or step < self._warmup:
            return False
        strategy = trial.params[STRATEGY]
        others = self._scores.setdefault(strategy, StepScores(strategy))
        others.update(study.get_trials(deepcopy=False))
        scores = others.at(step, without=trial.user_attrs.get(BATCH))
        if len(scores) < MIN_COMPARED:
            return False
        reported = [score for score in trial.intermediate_values.values() if not math.isnan(score)]
        return not reported or max(reported) < median(scores)
