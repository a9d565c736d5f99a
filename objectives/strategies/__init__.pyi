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
from .plans import plan_phases

__all__ = [
    "BUILT_IN",
    "STRATEGIES",
    "Plan",
    "Strategy",
    "StrategyRegistry",
    "finetuning_phase",
    "freeze_depth",
    "get_strategy",
    "head_phase",
    "plan_phases",
    "register_strategy",
    "takes_parameter",
]
