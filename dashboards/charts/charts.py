"""All charts of a study, in the order of the report."""

from __future__ import annotations

from ...search.analysis import budget_steps
from ...search.study import StudyResults
from .budget_chart import plot_budget
from .comparison_chart import compare_strategies
from .data_curve_chart import plot_data_curve
from .drawing import Chart, scored_trials
from .learning_curves import plot_curves
from .progress_chart import plot_progress
from .trial_charts import plot_cost, plot_depth
from .truncation_chart import plot_truncation
from .weights_chart import plot_weights, weighed_trials

__all__ = ["Chart", "create_charts"]


def create_charts(results: StudyResults) -> list[Chart]:
    """Return every chart for which the study has data."""
    verdict = results.verdict
    charts = [compare_strategies(verdict)] if verdict is not None else []
    if results.curve is not None:
        charts.append(plot_data_curve(results.curve))
    if results.truncation is not None:
        charts.append(plot_truncation(results.truncation))
    if scored_trials(results):
        charts += [plot_cost(results), plot_depth(results)]
    if weighed_trials(results):
        charts.append(plot_weights(results))
    if budget_steps(results.trials):
        charts.append(plot_budget(results))
    if any(step.best is not None for step in budget_steps(results.trials)):
        charts.append(plot_progress(results))
    if any(trial.curve for trial in results.trials):
        charts.append(plot_curves(results))
    return charts
