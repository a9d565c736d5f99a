"""What all charts share: how a chart is described, laid out, scaled and marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from ...objectives.metrics import METRICS
from ...search.records import TrialRecord
from ...search.study.results import StudyResults
from ..formats import duration, percent, plural, value
from ..palette import Look
from ..tables import TextTable

# A narrower axis would make noise look like a difference.
_LEAST_SPAN = 10.0
# Trials of a strategy beyond which markers shrink and fade.
_CROWD = 100
# Of lines that are no strategy's: 3:1 contrast on white and on the dark page.
_NEUTRAL = "#7F8A96"
# What a trial is known by, in the order of interest; the rest is in MLflow.
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
    """A figure and what it says in words.

    Attributes:
        name: Identifier, unique in a report.
        title: Heading.
        caption: What to see in it, and over how many.
        figure: Neutral in colour but for the strategies, so that the page can give it a light or a dark look.
        data: The numbers in it.
    """

    name: str
    title: str
    caption: str
    figure: go.Figure
    data: TextTable


def scored_trials(results: StudyResults) -> list[TrialRecord]:
    """Complete and pruned trials; those that failed have no score to show."""
    return [trial for trial in results.trials if trial.state in ("complete", "pruned") and trial.score is not None]


def layout(height: int) -> go.Layout:
    return go.Layout(
        height=height,
        margin={"l": 8, "r": 12, "t": 8, "b": 8},
        font={"family": "system-ui, sans-serif", "size": 13},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="closest",
        # Dragging would zoom, and on a telephone keep the page from scrolling.
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
    shown = [trial.score for trial in trials if trial.score is not None] if scores is None else scores
    title = f"validation {METRICS[results.settings.metric].title}, %"
    figure.update_yaxes(title_text=title, range=span([100 * score for score in shown]))


def span(scores: Sequence[float]) -> list[float]:
    """A range around percentages: some air, never so narrow that noise looks large, never far outside 0 to 100."""
    if not scores:
        return [0.0, 102.0]
    low, high = min(scores), max(scores)
    air = max(0.06 * (high - low), (_LEAST_SPAN - (high - low)) / 2, 1.5)
    return [max(-2.0, low - air), min(102.0, high + air)]


def add_front(figure: go.Figure, front: Sequence[TrialRecord], costs: Sequence[float]) -> None:
    """The Pareto front as steps: at each cost the best score that it buys."""
    figure.add_scatter(
        x=list(costs),
        y=[percentage(trial) for trial in front],
        mode="lines",
        name=f"Pareto front (n = {len(front)})",
        line={"color": _NEUTRAL, "width": 1.5, "dash": "dot", "shape": "hv"},
        hoverinfo="skip",
    )


def time_unit(seconds: float) -> tuple[float, str]:
    """The unit for an axis up to so many seconds: its length in seconds, and its name."""
    return (1.0, "s") if seconds < 300 else (60.0, "min") if seconds < 3 * 3600 else (3600.0, "h")


def marker(style: Look, size: int) -> dict[str, object]:
    return {"color": style.colour, "symbol": style.symbol, "size": size, "line": {"width": 1.5, "color": style.colour}}


def marker_each(style: Look, trials: Sequence[TrialRecord]) -> dict[str, object]:
    """Full for complete trials, hollow for pruned ones."""
    symbols = [style.symbol + ("-open" if trial.state == "pruned" else "") for trial in trials]
    crowded = len(trials) > _CROWD
    return {**marker(style, size=6 if crowded else 9), "symbol": symbols, "opacity": 0.5 if crowded else 0.9}


def by_strategy(results: StudyResults, trials: Sequence[TrialRecord]) -> list[tuple[str, list[TrialRecord]]]:
    groups = ((name, [trial for trial in trials if trial.strategy == name]) for name in results.settings.strategies)
    return [(name, group) for name, group in groups if group]


def describe_trial(trial: TrialRecord) -> str:
    head = f"<b>trial {trial.number}: {trial.strategy}</b>"
    return f"{head}<br>{percent(trial.score)}, {trial.state}, {duration(trial.seconds)}"


def key_settings(trial: TrialRecord) -> Iterator[str]:
    return (f"{name} {value(trial.config[name])}" for name in KEY_PARAMETERS if trial.config.get(name) is not None)


def percentage(trial: TrialRecord) -> float | None:
    """To a hundredth, which no chart shows: more digits would be most of a large report."""
    return None if trial.score is None else round(100 * trial.score, 2)


def counted(strategy: str, trials: Sequence[TrialRecord]) -> str:
    return f"{strategy} (n = {len(trials)})"


def sample(trials: Sequence[TrialRecord]) -> str:
    pruned = sum(trial.state == "pruned" for trial in trials)
    return f"n = {plural(len(trials), 'trial')}" + (f", {pruned} of them pruned" if pruned else "")
