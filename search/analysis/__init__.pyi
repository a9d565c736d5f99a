from .budget_history import Step, budget_steps
from .comparison import Comparing, compare
from .confusion import Confusion, Errors, Mistake, confusion_of, errors_of, worst_mistakes
from .data_curve import BASELINE, CurvePoint, CurveRecord, DataCurve, trace_curve
from .importance import MIN_TRIALS, explained_variance
from .kept_comparisons import KeptComparisons
from .leaks import Leaks, measure_leaks
from .pareto import pareto_front
from .verdict import Contender, Verdict, reach_verdict

__all__ = [
    "BASELINE",
    "MIN_TRIALS",
    "Comparing",
    "Confusion",
    "Contender",
    "CurvePoint",
    "CurveRecord",
    "DataCurve",
    "Errors",
    "KeptComparisons",
    "Leaks",
    "Mistake",
    "Step",
    "Verdict",
    "budget_steps",
    "compare",
    "confusion_of",
    "errors_of",
    "explained_variance",
    "measure_leaks",
    "pareto_front",
    "reach_verdict",
    "trace_curve",
    "worst_mistakes",
]
