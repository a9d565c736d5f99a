from .built_in import finetuning_phase, freeze_depth, head_phase
from .catalog import BUILT_IN, STRATEGIES, get_strategy, register_strategy
from .plans import PlannedTrial, plan_phases, plan_trial
from .registry import Plan, Strategy, StrategyRegistry, takes_parameter

__all__ = [
    "BUILT_IN",
    "STRATEGIES",
    "Plan",
    "PlannedTrial",
    "Strategy",
    "StrategyRegistry",
    "finetuning_phase",
    "freeze_depth",
    "get_strategy",
    "head_phase",
    "plan_phases",
    "plan_trial",
    "register_strategy",
    "takes_parameter",
]
