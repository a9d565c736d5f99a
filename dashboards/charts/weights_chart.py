"""The weights chart: score against the number of trainable weights, with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from ...search.analysis import pareto_front
from ...search.formats import NOTHING, count, duration, percent
from ...search.records import TrialRecord
from ...search.study import StudyResults
from ..palette import look
from ..tables import Column, TextTable
from .drawing import (
    Chart,
    add_front,
    by_strategy,
    counted,
    describe_trial,
    layout,
    marker_each,
    numbers,
    percentage,
    sample,
    scored_trials,
    set_score_axis,
)


def weighed_trials(results: StudyResults) -> list[TrialRecord]:
    """Return the scored trials whose number of trainable weights is known; it is unknown for pruned ones."""
    return [trial for trial in scored_trials(results) if trial.trainable_parameters]


def plot_weights(results: StudyResults) -> Chart:
    """Draw the validation score of every complete trial against its trainable weights."""
    figure = go.Figure()
    trials = weighed_trials(results)
    front = pareto_front(trials, lambda trial: trial.trainable_parameters)
    for strategy, group in by_strategy(results, trials):
        figure.add_scatter(
            x=numbers(trial.trainable_parameters for trial in group),
            y=numbers(percentage(trial) for trial in group),
            customdata=numbers(trial.number for trial in group),
            text=[
                f"{describe_trial(trial)}<br>{count(trial.trainable_parameters)} trainable weights" for trial in group
            ],
            mode="markers",
            name=counted(strategy, group),
            marker=marker_each(look(strategy), group),
            hovertemplate="%{text}<extra></extra>",
        )
    add_front(figure, front, [trial.trainable_parameters or 0 for trial in front])
    ticks = [digit * 10**power for power in range(10) for digit in (1, 3)]
    figure.update_xaxes(type="log", title_text="trainable weights (logarithmic)", tickvals=ticks, tickformat="~s")
    set_score_axis(figure, results, trials)
    figure.update_layout(layout(400))
    return Chart("weights", "Score against trainable weights", _caption(trials), figure, _rows(front))


def _caption(trials: Sequence[TrialRecord]) -> str:
    return (
        "Trainable weights are those that the last phase of a training changes: the weights that each further model of "
        "this backbone would have to store. "
        f"Up and to the left is better; the dotted line is the Pareto front. {sample(trials)}."
    )


def _rows(front: Sequence[TrialRecord]) -> TextTable:
    columns = (
        Column("on the Pareto front: trial"),
        Column("strategy", numeric=False),
        Column("validation"),
        Column("trainable weights"),
        Column("time"),
    )
    rows = tuple(
        (
            str(trial.number),
            trial.strategy or NOTHING,
            percent(trial.score),
            count(trial.trainable_parameters),
            duration(trial.seconds),
        )
        for trial in front
    )
    return TextTable(columns, rows)
