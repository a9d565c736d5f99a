from .catalog import (
    BUILT_IN,
    STRATEGIES,
    Plan,
    Strategy,
    StrategyRegistry,
    finetuning_phase,
    freeze_depth,
    get_strategy,
    head_phase,
    register_strategy,
    takes_parameter,
)
from .plans import PlannedTrial, plan_phases, plan_trial

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
