"""The charts of a study, in the order of a report."""

from __future__ import annotations

from ..search.results import StudyResults
from .comparison_chart import compare_strategies
from .curve_chart import plot_curves
from .drawing import Chart, scored_trials
from .trial_charts import plot_cost, plot_depth

__all__ = ["Chart", "compare_strategies", "create_charts", "plot_cost", "plot_curves", "plot_depth"]


def create_charts(results: StudyResults) -> list[Chart]:
    """Every chart there are data for."""
    verdict = results.verdict
    charts = [compare_strategies(verdict)] if verdict is not None else []
    if scored_trials(results):
        charts += [plot_cost(results), plot_depth(results)]
    if any(trial.curve for trial in results.trials):
        charts.append(plot_curves(results))
    return charts
