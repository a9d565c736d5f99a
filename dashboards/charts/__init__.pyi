from .charts import Chart, create_charts
from .drawing import KEY_PARAMETERS, by_strategy, scored_trials, span

__all__ = [
    "KEY_PARAMETERS",
    "Chart",
    "by_strategy",
    "create_charts",
    "scored_trials",
    "span",
]
