"""The charts of a study, each with a caption and its data as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..search.records import TrialRecord, best_trial
from ..search.results import StudyResults
from ..search.verdict import Verdict
from .formats import NOTHING, duration, percent, plural, points, value
from .palette import Look, look
from .tables import Column, TextTable

# A narrower axis would make noise look like a difference.
_LEAST_SPAN = 10.0
_MOST_TICKS = 8
_FAINT = 0.25
# What a trial is known by, in the order of interest; the rest is in MLflow.
_KEY_PARAMETERS = (
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


def create_charts(results: StudyResults) -> list[Chart]:
    """Every chart there are data for."""
    verdict = results.verdict
    charts = [compare_strategies(verdict)] if verdict is not None else []
    if scored_trials(results):
        charts += [plot_cost(results), plot_depth(results)]
    if any(trial.curve for trial in results.trials):
        charts.append(plot_curves(results))
    return charts


def scored_trials(results: StudyResults) -> list[TrialRecord]:
    """Complete and pruned trials; those that failed have no score to show."""
    return [trial for trial in results.trials if trial.state in ("complete", "pruned") and trial.score is not None]


def compare_strategies(verdict: Verdict) -> Chart:
    """Test scores of the finalists by seed, mean and spread; beside them the time of a training."""
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, column_widths=[0.64, 0.36], horizontal_spacing=0.05)
    for contender in verdict.contenders:
        style, name = look(contender.strategy), _broken(contender.strategy)
        scores = [100 * score for score in contender.scores]
        figure.add_scatter(
            x=scores,
            y=[name] * len(scores),
            mode="markers",
            name=contender.strategy,
            opacity=0.6,
            marker=_marker(style, size=8, hollow=True),
            hovertemplate="%{x:.1f} % (one seed)<extra></extra>",
            row=1,
            col=1,
        )
        figure.add_scatter(
            x=[100 * contender.mean],
            y=[name],
            mode="markers",
            name=contender.strategy,
            marker=_marker(style, size=12),
            error_x={"array": [100 * contender.spread], "thickness": 2, "width": 6},
            hovertemplate=f"mean %{{x:.1f}} ± {points(contender.spread)} %<extra></extra>",
            row=1,
            col=1,
        )
        figure.add_bar(
            x=[contender.seconds],
            y=[name],
            orientation="h",
            name=contender.strategy,
            marker_color=style.colour,
            width=0.45,
            hovertemplate=f"{duration(contender.seconds)} a training<extra></extra>",
            row=1,
            col=2,
        )
    everything = [100 * score for contender in verdict.contenders for score in contender.scores]
    edges = [100 * (c.mean + side * c.spread) for c in verdict.contenders for side in (-1, 1)]
    figure.update_xaxes(title_text=f"test {_words(verdict.metric)}, %", range=_span(everything + edges), row=1, col=1)
    figure.update_xaxes(title_text="training, s", rangemode="tozero", row=1, col=2)
    figure.update_yaxes(autorange="reversed")
    figure.update_layout(_layout(110 + 52 * len(verdict.contenders)), showlegend=False)
    return Chart("strategies", "Strategies compared", _compare_caption(verdict), figure, _compare_data(verdict))


def _compare_caption(verdict: Verdict) -> str:
    seeds = sorted({len(contender.scores) for contender in verdict.contenders})
    n = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    return (
        f"Each small mark is one training of a finalist (n = {n} seeds a strategy) on the same "
        f"{verdict.test_images:,} test images; the large one is their mean ± one standard deviation, and the bars say "
        "what one training took. The score axis does not start at 0."
    )


def _compare_data(verdict: Verdict) -> TextTable:
    columns = (Column("strategy", numeric=False), Column("test score of each seed"), Column("mean"), Column("training"))
    return TextTable(
        columns,
        tuple(
            (c.strategy, ", ".join(map(percent, c.scores)), percent(c.mean), duration(c.seconds))
            for c in verdict.contenders
        ),
    )


def plot_cost(results: StudyResults) -> Chart:
    """Validation score of every trial against its seconds."""
    figure = go.Figure()
    scored = [trial for trial in scored_trials(results) if trial.seconds is not None]
    for strategy, trials in _by_strategy(results, scored):
        figure.add_scatter(
            x=[trial.seconds for trial in trials],
            y=[_percentage(trial) for trial in trials],
            customdata=[trial.number for trial in trials],
            text=[_describe(trial) for trial in trials],
            mode="markers",
            name=_counted(strategy, trials),
            marker=_marker_each(look(strategy), trials),
            hovertemplate="%{text}<extra></extra>",
        )
    seconds = [trial.seconds for trial in scored if trial.seconds]
    if seconds and max(seconds) > 20 * min(seconds):
        figure.update_xaxes(type="log", title_text="seconds a trial (logarithmic)", dtick="D2")
    else:
        figure.update_xaxes(rangemode="tozero", title_text="seconds a trial")
    _score_axis(figure, results, scored)
    figure.update_layout(_layout(420))
    return Chart("cost", "Score against cost", _cost_caption(results, scored), figure, _trial_rows(results))


def _cost_caption(results: StudyResults, scored: Sequence[TrialRecord]) -> str:
    failed = sum(trial.state == "failed" for trial in results.trials)
    missing = f"; {plural(failed, 'failed trial')} not shown" if failed else ""
    best = best_trial(scored)
    said = f" The best, trial {best.number} ({best.strategy}), reached {percent(best.score)}" if best else ""
    took = f" in {duration(best.seconds)}." if best else ""
    return f"Up and to the left is better. {_n(scored)}{missing}.{said}{took}"


def _trial_rows(results: StudyResults) -> TextTable:
    columns = (
        Column("trial"),
        Column("strategy", numeric=False),
        Column("state", numeric=False),
        Column("validation"),
        Column("time"),
        Column("parameters", numeric=False),
    )
    rows = tuple(
        (
            str(trial.number),
            trial.strategy or NOTHING,
            trial.state,
            percent(trial.score),
            duration(trial.seconds),
            ", ".join(_settings(trial)) or NOTHING,
        )
        for trial in results.trials
    )
    return TextTable(columns, rows)


def plot_depth(results: StudyResults) -> Chart:
    """Validation score against how many units were frozen, with the best trial at each depth joined up."""
    figure = go.Figure()
    placed = [trial for trial in scored_trials(results) if trial.freeze_depth is not None]
    groups = _by_strategy(results, placed)
    for place, (strategy, trials) in enumerate(groups):
        # Strategies share depths (full and scratch both freeze nothing): side by side, they can be told apart.
        shift = 0.12 * (place - (len(groups) - 1) / 2)
        figure.add_scatter(
            x=[_depth(trial) + shift for trial in trials],
            y=[_percentage(trial) for trial in trials],
            customdata=[(trial.number, trial.freeze_depth) for trial in trials],
            text=[f"{_describe(trial)}<br>{describe_depth(results, _depth(trial))}" for trial in trials],
            mode="markers",
            name=_counted(strategy, trials),
            legendgroup=strategy,
            marker=_marker_each(look(strategy), trials),
            hovertemplate="%{text}<extra></extra>",
        )
        best = _best_by_depth(trials)
        if len(best) > 1:
            figure.add_scatter(
                x=[_depth(trial) + shift for trial in best],
                y=[_percentage(trial) for trial in best],
                mode="lines",
                line={"color": look(strategy).colour, "width": 1.5},
                legendgroup=strategy,
                showlegend=False,
                hoverinfo="skip",
            )
    units = len(results.facts.units)
    ticks = _depth_ticks(units)
    figure.update_xaxes(
        title_text="frozen units, and the last of them",
        range=[-0.5, units + 0.5],
        tickvals=ticks,
        tickangle=-40,
        ticktext=[_tick(results, depth) for depth in ticks],
    )
    _score_axis(figure, results, placed)
    figure.update_layout(_layout(480))
    caption = _depth_caption(results, placed)
    return Chart("depth", "Score against freeze depth", caption, figure, _depth_rows(results, groups))


def describe_depth(results: StudyResults, depth: int) -> str:
    """In words: what is frozen, and the share of the forward pass that need not be repeated."""
    units = results.facts.units
    if depth == 0:
        return "nothing frozen"
    last = f" (up to {units[depth - 1]})" if depth <= len(units) else ""
    share = results.facts.frozen_flops[depth] if depth < len(results.facts.frozen_flops) else None
    saved = "" if share is None else f": {share:.0%} of the forward FLOPs"
    return f"{depth} of {len(units)} units frozen{last}{saved}"


def _depth_caption(results: StudyResults, placed: Sequence[TrialRecord]) -> str:
    best = best_trial(placed)
    found = (
        f" The best, trial {best.number} ({best.strategy}), has {describe_depth(results, _depth(best))}."
        if best is not None and best.freeze_depth is not None
        else ""
    )
    return (
        "From 0 (every unit trains) on the left to all frozen (only the head trains) on the right; a line joins the "
        f"best trial at each depth. {_n(placed)}.{found}"
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


def plot_curves(results: StudyResults) -> Chart:
    """Validation score by epoch: the best trial of each strategy stands out, the others are faint."""
    figure = go.Figure()
    drawn = [trial for trial in results.trials if trial.curve]
    groups = _by_strategy(results, drawn)
    # All faint curves first, so that none covers a best one.
    for strategy, trials in groups:
        others = [trial for trial in trials if trial is not best_trial(trials)]
        if others:
            figure.add_scatter(**_faint_curves(strategy, others))
    for strategy, trials in groups:
        best = best_trial(trials)
        if best is not None:
            figure.add_scatter(**_best_curve(strategy, best))
    _score_axis(figure, results, drawn, scores=[score for trial in drawn for score in trial.curve.values()])
    figure.update_xaxes(title_text="epoch", rangemode="tozero", tickformat="d")
    figure.update_layout(_layout(420))
    caption = f"Bold: the best trial of each strategy; faint: the others, of which pruned ones end early. {_n(drawn)}."
    return Chart("curves", "Learning curves", caption, figure, _curve_rows(groups))


def _best_curve(strategy: str, trial: TrialRecord) -> dict[str, object]:
    epochs, scores = _points(trial)
    return {
        "x": epochs,
        "y": scores,
        "customdata": [trial.number] * len(epochs),
        "mode": "lines+markers",
        "name": f"{strategy} (trial {trial.number})",
        "legendgroup": strategy,
        "line": {"color": look(strategy).colour, "width": 3},
        "marker": _marker(look(strategy), size=7),
        "hovertemplate": f"{strategy}, trial {trial.number}<br>epoch %{{x}}: %{{y:.1f}} %<extra></extra>",
    }


def _faint_curves(strategy: str, trials: Sequence[TrialRecord]) -> dict[str, object]:
    """All in one trace, with gaps: a trace each would be slow with a thousand trials."""
    x: list[int | None] = []
    y: list[float | None] = []
    numbers: list[int | None] = []
    for trial in trials:
        epochs, scores = _points(trial)
        x += [*epochs, None]
        y += [*scores, None]
        numbers += [trial.number] * len(epochs) + [None]
    return {
        "x": x,
        "y": y,
        "customdata": numbers,
        "mode": "lines",
        "opacity": _FAINT,
        "name": strategy,
        "legendgroup": strategy,
        "showlegend": False,
        "line": {"color": look(strategy).colour, "width": 1.5},
        "hovertemplate": f"{strategy}, trial %{{customdata}}<br>epoch %{{x}}: %{{y:.1f}} %<extra></extra>",
    }


def _points(trial: TrialRecord) -> tuple[list[int], list[float]]:
    """Epochs from 1 and scores in percent."""
    return [epoch + 1 for epoch in sorted(trial.curve)], [100 * trial.curve[epoch] for epoch in sorted(trial.curve)]


def _curve_rows(groups: Sequence[tuple[str, list[TrialRecord]]]) -> TextTable:
    columns = (
        Column("strategy", numeric=False),
        Column("best trial"),
        Column("validation score by epoch, %", numeric=False),
    )
    best = [(strategy, best_trial(trials)) for strategy, trials in groups]
    return TextTable(
        columns,
        tuple(
            (strategy, str(trial.number), " ".join(f"{score:.1f}" for score in _points(trial)[1]))
            for strategy, trial in best
            if trial is not None
        ),
    )


def _layout(height: int) -> go.Layout:
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
                "xaxis": {"automargin": True, "zeroline": False, "showline": True, "title": {"standoff": 8}},
                "yaxis": {"automargin": True, "zeroline": False, "title": {"standoff": 8}},
            }
        ),
    )


def _score_axis(
    figure: go.Figure, results: StudyResults, trials: Sequence[TrialRecord], scores: Sequence[float] | None = None
) -> None:
    shown = [trial.score for trial in trials if trial.score is not None] if scores is None else scores
    title = f"validation {_words(results.settings.metric)}, %"
    figure.update_yaxes(title_text=title, range=_span([100 * score for score in shown]))


def _span(scores: Sequence[float]) -> list[float]:
    """A range around percentages: some air, never so narrow that noise looks large, never far outside 0 to 100."""
    if not scores:
        return [0.0, 102.0]
    low, high = min(scores), max(scores)
    air = max(0.06 * (high - low), (_LEAST_SPAN - (high - low)) / 2, 1.5)
    return [max(-2.0, low - air), min(102.0, high + air)]


def _marker(style: Look, size: int, *, hollow: bool = False) -> dict[str, object]:
    symbol = style.symbol + ("-open" if hollow else "")
    return {"color": style.colour, "symbol": symbol, "size": size, "line": {"width": 1.5, "color": style.colour}}


def _marker_each(style: Look, trials: Sequence[TrialRecord]) -> dict[str, object]:
    """Full for complete trials, hollow for pruned ones."""
    symbols = [style.symbol + ("-open" if trial.state == "pruned" else "") for trial in trials]
    return {**_marker(style, size=9), "symbol": symbols, "line": {"width": 1.5}, "opacity": 0.85}


def _by_strategy(results: StudyResults, trials: Sequence[TrialRecord]) -> list[tuple[str, list[TrialRecord]]]:
    groups = ((name, [trial for trial in trials if trial.strategy == name]) for name in results.settings.strategies)
    return [(name, group) for name, group in groups if group]


def _best_by_depth(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    depths = sorted({_depth(trial) for trial in trials})
    found = (best_trial([trial for trial in trials if trial.freeze_depth == depth]) for depth in depths)
    return [trial for trial in found if trial is not None]


def _depth_ticks(units: int) -> list[int]:
    step = -(-units // _MOST_TICKS) or 1
    ticks = list(range(0, units, step))
    # The last depth is always named, and nothing stands so near that the two overlap.
    return [tick for tick in ticks if units - tick >= (step + 1) // 2] + [units]


def _tick(results: StudyResults, depth: int) -> str:
    name = results.facts.units[depth - 1] if depth else "none"
    return f"{depth} {name if len(name) <= 16 else '…' + name[-15:]}"


def _describe(trial: TrialRecord) -> str:
    head = f"<b>trial {trial.number}: {trial.strategy}</b>"
    outcome = f"{percent(trial.score)}, {trial.state}, {duration(trial.seconds)}"
    return "<br>".join([head, outcome, *_settings(trial)])


def _settings(trial: TrialRecord) -> Iterator[str]:
    return (f"{name} {value(trial.config[name])}" for name in _KEY_PARAMETERS if trial.config.get(name) is not None)


def _depth(trial: TrialRecord) -> int:
    assert trial.freeze_depth is not None
    return trial.freeze_depth


def _percentage(trial: TrialRecord) -> float | None:
    return None if trial.score is None else 100 * trial.score


def _counted(strategy: str, trials: Sequence[TrialRecord]) -> str:
    return f"{strategy} (n = {len(trials)})"


def _n(trials: Sequence[TrialRecord]) -> str:
    pruned = sum(trial.state == "pruned" for trial in trials)
    hollow = f", {pruned} of them pruned (hollow)" if pruned else ""
    return f"n = {plural(len(trials), 'trial')}{hollow}"


def _words(metric: str) -> str:
    return metric.replace("_", " ")


def _broken(strategy: str) -> str:
    """On two lines where it is long, to leave room for the chart on a telephone."""
    return strategy.replace("_", "_<br>", 1) if len(strategy) > 10 else strategy
