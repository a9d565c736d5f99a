from .budget_history import Step, budget_steps
from .comparison import Comparing, compare
from .confusion import Confusion, Errors, Mistake, confusion_of, errors_of, worst_mistakes
from .data_curve import BASELINE, CurvePoint, CurveRecord, DataCurve, trace_curve
from .importance import MIN_TRIALS, explained_variance
from .kept_comparisons import KeptComparisons
from .leaks import Leaks, measure_leaks
from .pareto import pareto_front
from .race import Race, RaceCosts, RaceRules, run_race
from .selection import Gain, Selection, examine_selection
from .verdict import INDIFFERENCE, Contender, Verdict, reach_verdict
from .verdict_cells import verdict_cells, verdict_titles
from .warnings import find_warnings

__all__ = [
    "BASELINE",
    "INDIFFERENCE",
    "MIN_TRIALS",
    "Comparing",
    "Confusion",
    "Contender",
    "CurvePoint",
    "CurveRecord",
    "DataCurve",
    "Errors",
    "Gain",
    "KeptComparisons",
    "Leaks",
    "Mistake",
    "Race",
    "RaceCosts",
    "RaceRules",
    "Selection",
    "Step",
    "Verdict",
    "budget_steps",
    "compare",
    "confusion_of",
    "errors_of",
    "examine_selection",
    "explained_variance",
    "find_warnings",
    "measure_leaks",
    "pareto_front",
    "reach_verdict",
    "run_race",
    "trace_curve",
    "verdict_cells",
    "verdict_titles",
    "worst_mistakes",
]
