"""The truncation chart: test score of a linear head after each unit, against the network's latency and size."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ...objectives.metrics import find_metric
from ...search.analysis import Cut, Truncation
from ...search.formats import latency, megabytes, points
from ..tables import truncation_rows
from .drawing import NEUTRAL, Chart, layout, span


def plot_truncation(truncation: Truncation) -> Chart:
    """Draw the test score of each cut with its interval, against latency on the left and size on the right."""
    figure = make_subplots(1, 2, shared_yaxes=True, horizontal_spacing=0.06)
    cuts = truncation.cuts
    for column, costs in enumerate(([1000 * cut.latency for cut in cuts], [cut.size / 1e6 for cut in cuts]), 1):
        figure.add_trace(_dots(truncation, costs), 1, column)
    edges = [100 * edge for cut in cuts for edge in cut.interval]
    title = find_metric(truncation.metric).title
    figure.update_layout(layout(420), showlegend=False)
    figure.update_yaxes(range=span(edges))
    figure.update_yaxes(title_text=f"test {title}, %", col=1)
    figure.update_xaxes(title_text="latency, ms", rangemode="tozero", col=1)
    figure.update_xaxes(title_text="size, MB", rangemode="tozero", col=2)
    return Chart("truncation", "A smaller network", _caption(truncation), figure, truncation_rows(truncation))


def _dots(truncation: Truncation, costs: list[float]) -> go.Scatter:
    cuts, named = truncation.cuts, truncation.smaller
    return go.Scatter(
        x=costs,
        y=[100 * cut.test_score for cut in cuts],
        error_y={
            "array": [100 * (cut.interval[1] - cut.test_score) for cut in cuts],
            "arrayminus": [100 * (cut.test_score - cut.interval[0]) for cut in cuts],
            "thickness": 1.2,
            "width": 3,
            "color": NEUTRAL,
        },
        mode="markers",
        marker={
            "color": NEUTRAL,
            "size": [13 if cut is named else 8 for cut in cuts],
            "symbol": ["star" if cut is named else "circle" for cut in cuts],
        },
        customdata=[_hover(cut) for cut in cuts],
        hovertemplate="%{customdata}<extra></extra>",
    )


def _hover(cut: Cut) -> str:
    low, high = map(points, cut.interval)
    cost = f"{latency(cut.latency)}, {megabytes(cut.size)}"
    return f"<b>{cut.units} units, to {cut.unit}</b><br>{points(cut.test_score)} % [{low}, {high}]<br>{cost}"


def _caption(truncation: Truncation) -> str:
    star = "The star is the smaller network that is named. " if truncation.smaller else ""
    return (
        f"{truncation.sentence()} {star}Each dot is the pretrained network up to a unit with an exact linear head "
        f"(n = {len(truncation.cuts)} cuts), fitted on the training images; nothing else was trained. Bars are "
        f"{100 * truncation.confidence:.0f} % intervals for new test images (n = {truncation.test_images:,}). This is "
        "a diagnosis made after the verdict: neither trials nor the verdict used it. Latency is that of one image, the "
        f"median over repeated passes on {truncation.device}. The score axis does not start at 0."
    )
