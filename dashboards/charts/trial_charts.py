"""Charts of all trials: score against cost, and score against freeze depth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from ...search.analysis import pareto_front
from ...search.formats import NOTHING, duration, percent, plural
from ...search.records import TrialRecord, best_trial
from ...search.study import StudyResults
from ..palette import look
from ..tables import Column, TextTable
from .drawing import (
    Chart,
    add_front,
    by_strategy,
    counted,
    describe_trial,
    key_settings,
    layout,
    marker_each,
    numbers,
    percentage,
    sample,
    scored_trials,
    set_score_axis,
)

_MAX_TICKS = 8
# Of more trials, the table contains the Pareto front and the best ones.
_MAX_ROWS = 200
# Number of Pareto-optimal trials named in the caption.
_MAX_NAMED = 8


def plot_cost(results: StudyResults) -> Chart:
    """Draw the validation score of every trial against its seconds, with the Pareto front."""
    figure = go.Figure()
    scored = [trial for trial in scored_trials(results) if trial.seconds is not None]
    front = pareto_front(scored, lambda trial: trial.seconds)
    for strategy, trials in by_strategy(results, scored):
        figure.add_scatter(
            x=numbers(trial.seconds for trial in trials),
            y=numbers(percentage(trial) for trial in trials),
            customdata=numbers(trial.number for trial in trials),
            text=["<br>".join([describe_trial(trial), *key_settings(trial)]) for trial in trials],
            mode="markers",
            name=counted(strategy, trials),
            marker=marker_each(look(strategy), trials),
            hovertemplate="%{text}<extra></extra>",
        )
    add_front(figure, front, [trial.seconds or 0.0 for trial in front])
    seconds = [trial.seconds for trial in scored if trial.seconds]
    if seconds and max(seconds) > 20 * min(seconds):
        ticks = [digit * 10.0**power for power in range(-2, 6) for digit in (1, 3)]
        figure.update_xaxes(type="log", title_text="seconds a trial (logarithmic)", tickvals=ticks, tickformat="~g")
    else:
        figure.update_xaxes(rangemode="tozero", title_text="seconds a trial")
    set_score_axis(figure, results, scored)
    figure.update_layout(layout(420))
    return Chart(
        "cost", "Score against cost", _cost_caption(results, scored, front), figure, _trial_rows(results, front)
    )


def _cost_caption(results: StudyResults, scored: Sequence[TrialRecord], front: Sequence[TrialRecord]) -> str:
    failed = sum(trial.state == "failed" for trial in results.trials)
    missing = f"; {plural(failed, 'failed trial')} not shown" if failed else ""
    best = best_trial(scored)
    said = f" The best, trial {best.number} ({best.strategy}), reached {percent(best.score)}" if best else ""
    took = f" in {duration(best.seconds)}." if best else ""
    worth = (
        f" The dotted line is the Pareto front, where no trial scored higher in less time: {_numbers(front)}."
        if front
        else ""
    )
    return (
        f"Up and to the left is better; hollow marks are pruned trials. {sample(scored)}{missing}.{said}{took}{worth}"
    )


def _numbers(front: Sequence[TrialRecord]) -> str:
    shown = ", ".join(str(trial.number) for trial in front[-_MAX_NAMED:])
    return f"{'trial' if len(front) == 1 else 'trials'} {'…, ' if len(front) > _MAX_NAMED else ''}{shown}"


def _trial_rows(results: StudyResults, front: Sequence[TrialRecord]) -> TextTable:
    best = {trial.number for trial in front}
    columns = (
        Column("trial"),
        Column("strategy", numeric=False),
        Column("state", numeric=False),
        Column("validation"),
        Column("time"),
        Column("Pareto front", numeric=False),
        Column("parameters", numeric=False),
    )
    shown = sorted(results.trials, key=lambda trial: (trial.number not in best, -(trial.score or 0.0)))[:_MAX_ROWS]
    rows = tuple(
        (
            str(trial.number),
            trial.strategy or NOTHING,
            trial.state,
            percent(trial.score),
            duration(trial.seconds),
            "yes" if trial.number in best else "",
            ", ".join(key_settings(trial)) or NOTHING,
        )
        for trial in sorted(shown, key=lambda trial: trial.number)
    )
    return TextTable(columns, rows, left_out=len(results.trials) - len(shown))


def plot_depth(results: StudyResults) -> Chart:
    """Draw the validation score against the number of frozen units; lines join the best trial at each depth."""
    figure = go.Figure()
    placed = [trial for trial in scored_trials(results) if trial.freeze_depth is not None]
    groups = by_strategy(results, placed)
    units = len(results.facts.units)
    margin = max(0.5, 0.03 * units)
    for place, (strategy, trials) in enumerate(groups):
        # Strategies share depths (full and scratch both freeze nothing), so they are shifted side by side.
        shift = 0.24 * margin * (place - (len(groups) - 1) / 2)
        figure.add_scatter(
            x=numbers(_depth(trial) + shift for trial in trials),
            y=numbers(percentage(trial) for trial in trials),
            customdata=np.array([(trial.number, _depth(trial)) for trial in trials]),
            text=[f"{describe_trial(trial)}<br>{describe_depth(results, _depth(trial))}" for trial in trials],
            mode="markers",
            name=counted(strategy, trials),
            legendgroup=strategy,
            marker=marker_each(look(strategy), trials),
            hovertemplate="%{text}<extra></extra>",
        )
        best = _best_by_depth(trials)
        if len(best) > 1:
            figure.add_scatter(
                x=[_depth(trial) + shift for trial in best],
                y=[percentage(trial) for trial in best],
                mode="lines",
                line={"color": look(strategy).color, "width": 1.5},
                legendgroup=strategy,
                showlegend=False,
                hoverinfo="skip",
            )
    ticks = _depth_ticks(units)
    figure.update_xaxes(
        title_text="frozen units, and the last of them",
        range=[-margin, units + margin],
        tickvals=ticks,
        tickangle=-40,
        ticktext=[_tick(results, depth) for depth in ticks],
    )
    set_score_axis(figure, results, placed)
    figure.update_layout(layout(480))
    caption = _depth_caption(results, placed)
    return Chart("depth", "Score against freeze depth", caption, figure, _depth_rows(results, groups))


def describe_depth(results: StudyResults, depth: int) -> str:
    """Return in words which units are frozen, and their share of the forward FLOPs."""
    units = results.facts.units
    if depth == 0:
        return "nothing frozen"
    flops = results.facts.frozen_flops[depth]
    return f"{depth} of {len(units)} units frozen (up to {units[depth - 1]}, {percent(flops)} of the forward FLOPs)"


def _depth_caption(results: StudyResults, placed: Sequence[TrialRecord]) -> str:
    best = best_trial(placed)
    found = (
        f" The best, trial {best.number} ({best.strategy}), has {describe_depth(results, _depth(best))}."
        if best is not None and best.freeze_depth is not None
        else ""
    )
    return (
        "From 0 (every unit trains) on the left to all frozen (only the head trains) on the right; a line joins the "
        f"best trial at each depth. {sample(placed)}.{found}"
    )


def _depth_rows(results: StudyResults, groups: Sequence[tuple[str, list[TrialRecord]]]) -> TextTable:
    columns = (
        Column("strategy", numeric=False),
        Column("frozen units"),
        Column("the last of them", numeric=False),
        Column("trials"),
        Column("best validation"),
    )
    units = results.facts.units
    rows = []
    for strategy, trials in groups:
        for depth in sorted({_depth(trial) for trial in trials}):
            scores = [trial.score for trial in trials if trial.freeze_depth == depth and trial.score is not None]
            last = units[depth - 1] if 0 < depth <= len(units) else NOTHING
            rows.append((strategy, str(depth), last, str(len(scores)), percent(max(scores))))
    return TextTable(columns, tuple(rows))


def _best_by_depth(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    depths = sorted({_depth(trial) for trial in trials})
    found = (best_trial([trial for trial in trials if trial.freeze_depth == depth]) for depth in depths)
    return [trial for trial in found if trial is not None]


def _depth_ticks(units: int) -> list[int]:
    step = -(-units // _MAX_TICKS) or 1
    ticks = list(range(0, units, step))
    # The last depth always has a tick; no other tick is near enough to overlap it.
    return [tick for tick in ticks if units - tick >= step] + [units]


def _tick(results: StudyResults, depth: int) -> str:
    name = results.facts.units[depth - 1] if depth else "none"
    return f"{depth} {name if len(name) <= 16 else '…' + name[-15:]}"


def _depth(trial: TrialRecord) -> int:
    assert trial.freeze_depth is not None
    return trial.freeze_depth
