from .budget import HEAD_EPOCH, BudgetAllocation, score_margin, strategy_floor
from .pruner import WARMUP_EPOCHS, WARMUP_FOLDS, StrategyPruner
from .sampler import StrategySampler
from .tally import Tally
from .trial_costs import costs_by_strategy
from .user_samplers import create_user_sampler

__all__ = [
    "HEAD_EPOCH",
    "WARMUP_EPOCHS",
    "WARMUP_FOLDS",
    "BudgetAllocation",
    "StrategyPruner",
    "StrategySampler",
    "Tally",
    "costs_by_strategy",
    "create_user_sampler",
    "score_margin",
    "strategy_floor",
]
