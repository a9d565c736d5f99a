from .budget_history import Step, budget_steps
from .comparison import Comparing, compare
from .confusion import Confusion, Errors, Mistake, confusion_of, errors_of, worst_mistakes
from .data_curve import BASELINE, CurvePoint, CurveRecord, DataCurve, trace_curve
from .importance import MIN_TRIALS, explained_variance
from .kept_comparisons import KeptComparisons
from .leaks import Leaks, measure_leaks
from .model_stock import STOCK, ModelStock, best_final, shipped_final
from .pareto import pareto_front
from .projection import Gain, Projection
from .race import Race, RaceCosts, RaceRules, run_race
from .score_draws import draw_scores
from .selection import SearchGain, Selection, examine_selection
from .sureness import Sureness, judge_sureness
from .textbook import Advice, advise, count_outcomes
from .trial_memory import peak_memory
from .trial_seconds import MeasuredTrial, SecondsModel
from .truncation import Cut, Truncation, compare_cuts
from .verdict import INDIFFERENCE, Contender, Verdict, reach_verdict
from .verdict_cells import verdict_cells, verdict_titles
from .warnings import find_warnings

__all__ = [
    "BASELINE",
    "INDIFFERENCE",
    "MIN_TRIALS",
    "STOCK",
    "Advice",
    "Comparing",
    "Confusion",
    "Contender",
    "CurvePoint",
    "CurveRecord",
    "Cut",
    "DataCurve",
    "Errors",
    "Gain",
    "KeptComparisons",
    "Leaks",
    "MeasuredTrial",
    "Mistake",
    "ModelStock",
    "Projection",
    "Race",
    "RaceCosts",
    "RaceRules",
    "SearchGain",
    "SecondsModel",
    "Selection",
    "Step",
    "Sureness",
    "Truncation",
    "Verdict",
    "advise",
    "best_final",
    "budget_steps",
    "compare",
    "compare_cuts",
    "confusion_of",
    "count_outcomes",
    "draw_scores",
    "errors_of",
    "examine_selection",
    "explained_variance",
    "find_warnings",
    "judge_sureness",
    "measure_leaks",
    "pareto_front",
    "peak_memory",
    "reach_verdict",
    "run_race",
    "shipped_final",
    "trace_curve",
    "verdict_cells",
    "verdict_titles",
    "worst_mistakes",
]
