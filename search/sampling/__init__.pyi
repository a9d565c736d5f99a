from .budget import BudgetAllocation
from .pruner import StrategyPruner
from .sampler import StrategySampler
from .trial_costs import costs_by_strategy

__all__ = [
    "BudgetAllocation",
    "StrategyPruner",
    "StrategySampler",
    "costs_by_strategy",
]
