from .budget import HEAD_EPOCH, BudgetAllocation, score_margin
from .pruner import StrategyPruner
from .sampler import StrategySampler
from .trial_costs import costs_by_strategy

__all__ = [
    "HEAD_EPOCH",
    "BudgetAllocation",
    "StrategyPruner",
    "StrategySampler",
    "costs_by_strategy",
    "score_margin",
]
