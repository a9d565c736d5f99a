"""Shared parts of all charts: the chart record, layout, axes, markers and captions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from ...objectives.metrics import find_metric
from ...search.formats import duration, percent, plural, value
from ...search.records import TrialRecord
from ...search.study import StudyResults
from ..palette import Look
from ..tables import TextTable

# Minimum range of a score axis, in percent: a narrower axis would make noise look like a difference.
_MIN_SPAN = 10.0
# Number of a strategy's trials above which markers shrink and fade.
_CROWD = 100
# Color of lines that belong to no strategy: 3:1 contrast on white and on the dark page.
NEUTRAL = "#7F8A96"
# Parameters that identify a trial, most interesting first; the others are in MLflow.
KEY_PARAMETERS = (
    "freeze_depth",
    "learning_rate",
    "backbone_lr_ratio",
    "optimizer",
    "head.pooling",
    "head.hidden_layers",
    "augmentation",
    "epochs",
)


@dataclass(frozen=True)
class Chart:
    """A figure with its caption and numbers.

    Attributes:
        name: Identifier, unique in a report.
        title: Heading of the chart.
        caption: Sentences on what the chart shows and on how many trials or seeds.
        figure: Plotly figure; only strategies have colors of their own, so that the page can be light or dark.
        data: Table of the numbers in the chart.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: TextTable


def scored_trials(results: StudyResults) -> list[TrialRecord]:
    """Return the complete and pruned trials that have a score."""
    return [trial for trial in results.trials if trial.state in ("complete", "pruned") and trial.score is not None]


def layout(height: int) -> go.Layout:
    """Return the common layout of all charts, with a height in pixels."""
    return go.Layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        # Dragging would zoom, and would keep the page from scrolling on phones.
        dragmode=False,
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"},
        template=go.layout.Template(
            layout={
                "xaxis": {
                    "automargin": True,
                    "zeroline": False,
                    "showline": True,
                    "title": {"standoff": 8, "font": {"size": 13}},
                },
                "yaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 8, "font": {"size": 13}}},
            }
        ),
    )


def set_score_axis(
    figure: go.Figure, results: StudyResults, trials: Sequence[TrialRecord], scores: Sequence[float] | None = None
) -> None:
    """Set title and range of the score axis, for these scores or those of the trials."""
    shown = [trial.score for trial in trials if trial.score is not None] if scores is None else scores
    title = f"validation {find_metric(results.settings.metric).title}, %"
    figure.update_yaxes(title_text=title, range=span([100 * score for score in shown]))


def span(scores: Sequence[float]) -> list[float]:
    """Return an axis range around percentages, at least 10 points wide and within -2 to 102.

    Args:
        scores: Scores in percent.

    Examples:
        >>> from frostline.dashboards.charts import span
        >>> span([90.0, 94.0])
        [87.0, 97.0]
    """
    if not scores:
        return [0.0, 102.0]
    low, high = min(scores), max(scores)
    air = max(0.06 * (high - low), (_MIN_SPAN - (high - low)) / 2, 1.5)
    return [max(-2.0, low - air), min(102.0, high + air)]


def numbers(values: Iterable[float | None]) -> NDArray[np.float32]:
    """Return the numbers of a trace, NaN for gaps: of a list, Plotly checks and copies every element several times."""
    return np.array(list(values), dtype=np.float32)


def add_front(figure: go.Figure, front: Sequence[TrialRecord], costs: Sequence[float]) -> None:
    """Add the Pareto front as steps: the best score at each cost."""
    figure.add_scatter(
        x=list(costs),
        y=[percentage(trial) for trial in front],
        mode="lines",
        name=f"Pareto front (n = {len(front)})",
        line={"color": NEUTRAL, "width": 1.5, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the length in seconds and the name of the unit for an axis up to ``seconds``.

    Examples:
        >>> from frostline.dashboards.charts.drawing import time_unit
        >>> time_unit(90), time_unit(7200)
        ((1.0, 's'), (60.0, 'min'))
    """
    return (1.0, "s") if seconds < 300 else (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h")


def marker(style: Look, size: int) -> dict[str, object]:
    """Return the Plotly marker of a strategy, with a size in pixels."""
    return {"color": style.color, "symbol": style.symbol, "size": size, "line": {"width": 1.5, "color": style.color}}


def marker_each(style: Look, trials: Sequence[TrialRecord]) -> dict[str, object]:
    """Return the markers of a strategy's trials: filled for complete ones, hollow for pruned ones."""
    each = [style.symbol + ("-open" if trial.state == "pruned" else "") for trial in trials]
    symbols = each[0] if len(set(each)) == 1 else each
    crowded = len(trials) > _CROWD
    return {**marker(style, size=6 if crowded else 9), "symbol": symbols, "opacity": 0.5 if crowded else 0.9}


def by_strategy(results: StudyResults, trials: Sequence[TrialRecord]) -> list[tuple[str, list[TrialRecord]]]:
    """Group trials by strategy, in the study's order, without empty groups."""
    groups = ((name, [trial for trial in trials if trial.strategy == name]) for name in results.settings.strategies)
    return [(name, group) for name, group in groups if group]


def describe_trial(trial: TrialRecord) -> str:
    """Return number, strategy, score, state and time of a trial, as HTML."""
    head = f"<b>trial {trial.number}: {trial.strategy}</b>"
    return f"{head}<br>{percent(trial.score)}, {trial.state}, {duration(trial.seconds)}"


def key_settings(trial: TrialRecord) -> Iterator[str]:
    """Yield names and values of the most important parameters that a trial has."""
    return (f"{name} {value(trial.config[name])}" for name in KEY_PARAMETERS if trial.config.get(name) is not None)


def percentage(trial: TrialRecord) -> float | None:
    """Return a trial's score in percent, with two decimals: more would take most of a large report's bytes."""
    return None if trial.score is None else round(100 * trial.score, 2)


def counted(strategy: str, trials: Sequence[TrialRecord]) -> str:
    """Return a strategy's name with its number of trials."""
    return f"{strategy} (n = {len(trials)})"


def sample(trials: Sequence[TrialRecord]) -> str:
    """Return the number of trials, and of pruned ones among them, in words."""
    pruned = sum(trial.state == "pruned" for trial in trials)
    return f"n = {plural(len(trials), 'trial')}" + (f", {pruned} of them pruned" if pruned else "")
