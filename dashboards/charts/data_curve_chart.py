"""The data-size curve: test score against the number of training images, a line for each strategy."""

from __future__ import annotations

import plotly.graph_objects as go

from ...objectives.metrics import find_metric
from ...search.analysis import BASELINE, CurvePoint, DataCurve, Projection
from ...search.formats import points
from ..palette import look
from ..tables import curve_rows
from .drawing import Chart, layout, marker, span

# Horizontal distance between strategies, as a share of the size, so that their intervals do not hide each other.
_APART = 0.03


def plot_data_curve(curve: DataCurve) -> Chart:
    """Draw each strategy's mean test score with its interval against training images, on a logarithmic axis."""
    figure = go.Figure()
    names = list(dict.fromkeys(point.strategy for point in curve.points))
    for place, strategy in enumerate(names):
        shift = 1 + _APART * (place - (len(names) - 1) / 2)
        _add_line(figure, strategy, curve.of(strategy), shift)
        for projection in curve.projections:
            if projection.strategy == strategy and projection.gains:
                _add_projection(figure, projection, curve.of(strategy)[-1], shift)
    edges = [100 * edge for point in curve.points for edge in (*point.interval, point.mean)]
    edges += [
        min(100 * (curve.of(projection.strategy)[-1].mean + bound), 100)
        for projection in curve.projections
        for gain in projection.gains
        for bound in gain.interval
    ]
    figure.update_yaxes(title_text=f"test {find_metric(curve.metric).title}, %", range=span(edges))
    ticks = [f"{size:,}" for size in curve.sizes]
    figure.update_xaxes(
        type="log",
        title_text="training images (logarithmic)",
        tickvals=curve.sizes,
        ticktext=ticks,
        minor={"ticks": ""},
    )
    figure.update_layout(layout(420))
    title = f"{find_metric(curve.metric).title.capitalize()} against training images"
    return Chart("data-curve", title, _caption(curve), figure, curve_rows(curve))


def _add_line(figure: go.Figure, strategy: str, own: list[CurvePoint], shift: float) -> None:
    style = look(strategy)
    figure.add_scatter(
        x=[point.images * shift for point in own],
        y=[100 * point.mean for point in own],
        error_y={
            "array": [100 * (point.interval[1] - point.mean) for point in own],
            "arrayminus": [100 * (point.mean - point.interval[0]) for point in own],
            "thickness": 1.2,
            "width": 3,
            "color": style.color,
        },
        customdata=[
            [point.images, points(point.interval[0]), points(point.interval[1]), len(point.scores)] for point in own
        ],
        mode="lines+markers",
        name=strategy,
        line={"color": style.color, "width": 2},
        marker=marker(style, size=8),
        hovertemplate=f"{strategy} on %{{customdata[0]:,}} images: %{{y:.1f}} % "
        "[%{customdata[1]}, %{customdata[2]}], n = %{customdata[3]} seeds<extra></extra>",
    )


def _add_projection(figure: go.Figure, projection: Projection, last: CurvePoint, shift: float) -> None:
    style, gains = look(projection.strategy), projection.gains
    figure.add_scatter(
        x=[last.images * shift, *(gain.images * shift for gain in gains)],
        y=[100 * last.mean, *(100 * (last.mean + gain.gain) for gain in gains)],
        error_y={
            "array": [0.0, *(100 * (min(gain.interval[1], 1 - last.mean) - gain.gain) for gain in gains)],
            "arrayminus": [0, *(100 * (gain.gain - gain.interval[0]) for gain in gains)],
            "thickness": 0.8,
            "width": 3,
            "color": style.color,
        },
        mode="lines",
        line={"color": style.color, "width": 1.2, "dash": "dot"},
        showlegend=False,
        hoverinfo="skip",
    )


def _caption(curve: DataCurve) -> str:
    seeds = sorted({len(point.scores) for point in curve.points})
    n = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    crossed = " ".join(each.sentence() for each in (*curve.crossovers, *curve.projections))
    projected = (
        "Dotted lines are projections by a power law with an offset, for the same settings and up to 4 times the "
        "images; their bars are intervals of the gain. "
        if any(projection.gains for projection in curve.projections)
        else ""
    )
    return (
        f"{crossed} Each strategy's finalist was trained with the same settings and number of steps on nested "
        f"stratified parts of the training images (n = {n} seeds a point) and tested on the same "
        f"{curve.test_images:,} images; bars are {100 * curve.confidence:.0f} % intervals of the mean over images and "
        f"seeds. Intervals of differences hold for all comparisons with {BASELINE} at once. "
        f"{projected}The score axis does not start at 0."
    ).strip()
