"""The learning curves of all trials: validation score by epoch, or by fold."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from ...search.records import TrialRecord, best_trial
from ...search.study import StudyResults
from ..palette import look
from ..tables import Column, TextTable
from .drawing import Chart, by_strategy, layout, marker, numbers, sample, set_score_axis

_FAINT = 0.25


def plot_curves(results: StudyResults) -> Chart:
    """Draw the validation score by epoch or fold: bold for each strategy's best trial, faint for the others."""
    figure = go.Figure()
    unit = "fold" if results.settings.folds else "epoch"
    drawn = [trial for trial in results.trials if trial.curve]
    groups = [(strategy, trials, best_trial(trials)) for strategy, trials in by_strategy(results, drawn)]
    # Faint curves first, so that none covers a bold one.
    for strategy, trials, best in groups:
        others = [trial for trial in trials if trial is not best]
        if others:
            figure.add_scatter(**_faint_curves(strategy, others, unit))
    for strategy, _, best in groups:
        if best is not None:
            figure.add_scatter(**_best_curve(strategy, best, unit))
    set_score_axis(figure, results, drawn, scores=[score for trial in drawn for score in trial.curve.values()])
    figure.update_xaxes(title_text=unit, rangemode="tozero", tickformat="d")
    figure.update_layout(layout(420))
    caption = f"Bold: the best trial of each strategy; faint: the others (pruned trials end early). {sample(drawn)}."
    if results.settings.folds:
        caption = f"The mean score of the folds so far. {caption}"
    title = "Scores by fold" if results.settings.folds else "Learning curves"
    rows = _curve_rows([(strategy, best) for strategy, _, best in groups], unit)
    return Chart("curves", title, caption, figure, rows)


def _best_curve(strategy: str, trial: TrialRecord, unit: str) -> dict[str, object]:
    epochs, scores = _points(trial)
    return {
        "x": epochs,
        "y": scores,
        "customdata": [trial.number] * len(epochs),
        "mode": "lines+markers",
        "name": f"{strategy} (trial {trial.number})",
        "legendgroup": strategy,
        "line": {"color": look(strategy).color, "width": 3},
        "marker": marker(look(strategy), size=7),
        "hovertemplate": f"{strategy}, trial {trial.number}<br>{unit} %{{x}}: %{{y:.1f}} %<extra></extra>",
    }


def _faint_curves(strategy: str, trials: Sequence[TrialRecord], unit: str) -> dict[str, object]:
    """Return one trace for all curves, with gaps: a thousand traces would be slow."""
    x: list[int | None] = []
    y: list[float | None] = []
    own: list[int | None] = []
    for trial in trials:
        epochs, scores = _points(trial)
        x += [*epochs, None]
        y += [*scores, None]
        own += [trial.number] * len(epochs) + [None]
    return {
        "x": numbers(x),
        "y": numbers(y),
        "customdata": numbers(own),
        "mode": "lines",
        "opacity": _FAINT,
        "name": strategy,
        "legendgroup": strategy,
        "showlegend": False,
        "line": {"color": look(strategy).color, "width": 1.5},
        "hovertemplate": f"{strategy}, trial %{{customdata}}<br>{unit} %{{x}}: %{{y:.1f}} %<extra></extra>",
    }


def _points(trial: TrialRecord) -> tuple[list[int], list[float]]:
    """Return the epochs, from 1, and the scores in percent with two decimals."""
    return [epoch + 1 for epoch in sorted(trial.curve)], [
        round(100 * trial.curve[epoch], 2) for epoch in sorted(trial.curve)
    ]


def _curve_rows(best: Sequence[tuple[str, TrialRecord | None]], unit: str) -> TextTable:
    columns = (
        Column("strategy", numeric=False),
        Column("best trial"),
        Column(f"validation score by {unit}, %", numeric=False),
    )
    return TextTable(
        columns,
        tuple(
            (strategy, str(trial.number), " ".join(f"{score:.1f}" for score in _points(trial)[1]))
            for strategy, trial in best
            if trial is not None
        ),
    )
