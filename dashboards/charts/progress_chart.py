"""The progress chart: best score so far of each strategy, against its trials and its device time."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ...objectives.metrics import find_metric
from ...search.analysis import Step, budget_steps
from ...search.formats import duration, percent, plural
from ...search.study import StudyResults
from ..palette import look
from ..tables import Column, TextTable
from .drawing import Chart, layout, numbers, span, time_unit


def plot_progress(results: StudyResults) -> Chart:
    """Draw each strategy's best validation score so far, against its trials and, below, its device time."""
    steps = [step for step in budget_steps(results.trials) if step.best is not None]
    unit, unit_name = time_unit(max(step.seconds for step in steps))
    figure = make_subplots(rows=2, cols=1, vertical_spacing=0.2)
    for strategy in results.settings.strategies:
        own = [step for step in steps if step.trial.strategy == strategy]
        if own:
            _add_line(figure, 1, strategy, own, [float(step.trials) for step in own], "{x:d} trials")
            _add_line(figure, 2, strategy, own, [step.seconds / unit for step in own], f"{{x:.1f}} {unit_name}")
    title = f"best validation {find_metric(results.settings.metric).title}, %"
    figure.update_yaxes(title_text=title, range=span([100 * step.best for step in steps if step.best is not None]))
    figure.update_xaxes(title_text="trials of the strategy", rangemode="tozero", tickformat="d", row=1, col=1)
    figure.update_xaxes(title_text=f"device time of the strategy, {unit_name}", rangemode="tozero", row=2, col=1)
    figure.update_layout(layout(620))
    return Chart("progress", "Best so far", _caption(steps), figure, _rows(results, steps))


def _add_line(figure: go.Figure, row: int, strategy: str, own: Sequence[Step], x: Sequence[float], after: str) -> None:
    figure.add_scatter(
        x=numbers(x),
        y=numbers(100 * step.best for step in own if step.best is not None),
        customdata=numbers(step.trial.number for step in own),
        mode="lines+markers" if len(own) <= 30 else "lines",
        name=strategy,
        legendgroup=strategy,
        showlegend=row == 1,
        line={"color": look(strategy).color, "width": 2.5, "shape": "hv"},
        marker={"color": look(strategy).color, "symbol": look(strategy).symbol, "size": 6},
        hovertemplate=f"{strategy}: %{{y:.1f}} % after %{after}<extra></extra>",
        row=row,
        col=1,
    )


def _caption(steps: Sequence[Step]) -> str:
    return (
        f"Only complete trials raise a line; n = {plural(len(steps), 'trial')}, counted from each strategy's first "
        "complete one. The best of many validation scores is biased upward, so compare strategies by the finals above, "
        "not by this chart."
    )


def _rows(results: StudyResults, steps: Sequence[Step]) -> TextTable:
    columns = (
        Column("strategy", numeric=False),
        Column("best validation"),
        Column("found after trials"),
        Column("of"),
        Column("found after device time"),
        Column("of"),
    )
    rows = []
    for strategy in results.settings.strategies:
        own = [step for step in steps if step.trial.strategy == strategy]
        if own:
            found = next(step for step in own if step.best == own[-1].best)
            trials, seconds = (str(found.trials), str(own[-1].trials)), (found.seconds, own[-1].seconds)
            rows.append((strategy, percent(found.best), *trials, *map(duration, seconds)))
    return TextTable(columns, tuple(rows))
