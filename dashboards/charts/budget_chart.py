"""The budget chart: device time of each strategy over the running time of the search."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from ...search.analysis import Step, budget_steps
from ...search.formats import NOTHING, duration, percent, plural
from ...search.study import StudyResults
from ..palette import look
from ..tables import Column, TextTable
from .drawing import Chart, layout, time_unit


def plot_budget(results: StudyResults) -> Chart:
    """Draw the cumulated device time of each strategy against the running time of the search."""
    steps = budget_steps(results.trials)
    across, across_name = time_unit(steps[-1].at_work)
    most = max(step.seconds for step in steps)
    up, up_name = time_unit(most)
    figure = go.Figure()
    for strategy in results.settings.strategies:
        own = [step for step in steps if step.trial.strategy == strategy]
        if own:
            figure.add_scatter(
                x=[0.0, *(step.at_work / across for step in own), steps[-1].at_work / across],
                y=[0.0, *(step.seconds / up for step in own), own[-1].seconds / up],
                customdata=[None, *(step.trial.number for step in own), None],
                mode="lines",
                name=f"{strategy} ({duration(own[-1].seconds)})",
                line={"color": look(strategy).color, "width": 2.5, "shape": "hv"},
                hovertemplate=f"{strategy}: %{{y:.1f}} {up_name} after %{{x:.1f}} {across_name}<extra></extra>",
            )
    # Margins at the ends, so that the last steps do not lie on the edge.
    figure.update_xaxes(
        title_text=f"running time of the search, {across_name}", range=[0, 1.03 * steps[-1].at_work / across]
    )
    figure.update_yaxes(title_text=f"device time, {up_name}", range=[0, 1.05 * most / up])
    figure.update_layout(layout(360))
    return Chart("budget", "Where the budget went", _caption(steps), figure, _rows(results, steps))


def _caption(steps: Sequence[Step]) -> str:
    total = sum(step.trial.seconds or 0.0 for step in steps)
    return (
        f"Each step is a trial that ended: n = {plural(len(steps), 'trial')}, {duration(total)} of device time in all. "
        "Every strategy gets the same minimum number of trials; strategies that are behind by more than chance get "
        "theirs at the end. The other trials go to the most promising strategies. Pauses of the search are left out."
    )


def _rows(results: StudyResults, steps: Sequence[Step]) -> TextTable:
    total = sum(step.trial.seconds or 0.0 for step in steps) or 1.0
    columns = (Column("strategy", numeric=False), Column("trials"), Column("device time"), Column("share"))
    last = {step.trial.strategy: step for step in steps}
    rows = tuple(
        (name, str(last[name].trials), duration(last[name].seconds), percent(last[name].seconds / total))
        if name in last
        else (name, "0", NOTHING, NOTHING)
        for name in results.settings.strategies
    )
    return TextTable(columns, rows)
