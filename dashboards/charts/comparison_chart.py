"""The comparison chart: test scores of the finalists with intervals, and the time of a training."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ...objectives.metrics import find_metric
from ...search.analysis import Contender, Verdict
from ...search.formats import duration, percent, points
from ..palette import look
from ..tables import Column, TextTable
from .drawing import Chart, layout, marker, span


def compare_strategies(verdict: Verdict) -> Chart:
    """Draw the finalists' test scores by seed with mean and interval, and beside them the time of a training."""
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, column_widths=[0.64, 0.36], horizontal_spacing=0.05)
    for contender in verdict.contenders:
        _add_scores(figure, contender)
        _add_cost(figure, contender)
    scores = [100 * score for contender in verdict.contenders for score in contender.scores]
    edges = [100 * edge for contender in verdict.contenders for edge in contender.score_interval]
    figure.update_xaxes(
        title_text=f"test {find_metric(verdict.metric).title}, %", range=span(scores + edges), row=1, col=1
    )
    figure.update_xaxes(title_text="training, s", rangemode="tozero", nticks=4, row=1, col=2)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(layout(100 + 52 * len(verdict.contenders)), showlegend=False)
    return Chart("strategies", "Strategies compared", _caption(verdict), figure, _data(verdict))


def _add_scores(figure: go.Figure, contender: Contender) -> None:
    """Add a wide pale bar for the interval, a stroke for the mean, and a mark for each seed."""
    style, name = look(contender.strategy), _broken(contender.strategy)
    low, high = contender.score_interval
    interval = {
        "array": [100 * (high - contender.mean)],
        "arrayminus": [100 * (contender.mean - low)],
        "thickness": 10,
        "width": 0,
        "color": _pale(style.color),
    }
    figure.add_scatter(
        x=[100 * contender.mean],
        y=[name],
        error_x=interval,
        mode="markers",
        name=contender.strategy,
        marker={"symbol": "line-ns", "size": 24, "line": {"width": 3, "color": style.color}},
        hovertemplate=f"mean %{{x:.1f}} % [{points(low)}, {points(high)}]<extra></extra>",
        row=1,
        col=1,
    )
    figure.add_scatter(
        x=[100 * score for score in contender.scores],
        y=[name] * len(contender.scores),
        mode="markers",
        name=contender.strategy,
        opacity=0.8,
        marker=marker(style, size=8),
        hovertemplate="%{x:.1f} % (one seed)<extra></extra>",
        row=1,
        col=1,
    )


def _add_cost(figure: go.Figure, contender: Contender) -> None:
    figure.add_bar(
        x=[contender.seconds],
        y=[_broken(contender.strategy)],
        orientation="h",
        name=contender.strategy,
        marker={"color": look(contender.strategy).color, "line": {"width": 0}},
        width=0.45,
        hovertemplate=f"{duration(contender.seconds)} a training<extra></extra>",
        row=1,
        col=2,
    )


def _caption(verdict: Verdict) -> str:
    seeds = sorted({len(contender.scores) for contender in verdict.contenders})
    n = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    return (
        f"Each mark is one training of a finalist (n = {n} seeds a strategy), tested on the same "
        f"{verdict.test_images:,} images; the stroke is their mean, the pale bar its "
        f"{100 * verdict.confidence:.0f} % interval over images and seeds. Whether two strategies differ is in the "
        "table above, where both are compared on the same images. On the right: the time of one training. "
        "The score axis does not start at 0."
    )


def _data(verdict: Verdict) -> TextTable:
    columns = (
        Column("strategy", numeric=False),
        Column("test score of each seed"),
        Column("mean [interval]"),
        Column("training"),
    )
    return TextTable(
        columns,
        tuple(
            (c.strategy, ", ".join(map(percent, c.scores)), _with_interval(c), duration(c.seconds))
            for c in verdict.contenders
        ),
    )


def _with_interval(contender: Contender) -> str:
    low, high = contender.score_interval
    return f"{percent(contender.mean)} [{points(low)}, {points(high)}]"


def _broken(strategy: str) -> str:
    """Break a long name into two lines, to leave room for the chart on a phone."""
    return strategy.replace("_", "_<br>", 1) if len(strategy) > 10 else strategy


def _pale(color: str) -> str:
    red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, 0.35)"
