from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from frostline.dashboards.charts import create_charts
from frostline.dashboards.palette import look
from frostline.objectives.strategies import STRATEGIES
from frostline.search.results import StudyResults


def figure_of(results: StudyResults, name: str) -> Any:
    """The figure of that name, untyped: Plotly declares its attributes at run time."""
    return next(chart.figure for chart in create_charts(results) if chart.name == name)


def marks(figure: Any) -> Iterator[Any]:
    return (trace for trace in figure.data if "markers" in (trace.mode or ""))


def scored(results: StudyResults) -> dict[int, Any]:
    return {trial.number: trial for trial in results.trials if trial.score is not None}


def test_cost_shows_every_scored_trial_at_its_seconds_and_score(results: StudyResults) -> None:
    drawn = {
        number: (x, y)
        for trace in marks(figure_of(results, "cost"))
        for number, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    assert drawn == {
        number: (trial.seconds, pytest.approx(100 * trial.score)) for number, trial in scored(results).items()
    }


def test_depth_shows_every_scored_trial_beside_its_depth(results: StudyResults) -> None:
    traces = list(marks(figure_of(results, "depth")))
    drawn = {
        number: (depth, y) for trace in traces for (number, depth), y in zip(trace.customdata, trace.y, strict=True)
    }
    shifts = [x - depth for trace in traces for (_, depth), x in zip(trace.customdata, trace.x, strict=True)]
    assert drawn == {
        number: (trial.freeze_depth, pytest.approx(100 * trial.score)) for number, trial in scored(results).items()
    }
    assert max(map(abs, shifts)) < 0.5


def test_depth_axis_ends_at_all_units_frozen(results: StudyResults) -> None:
    axis: Any = figure_of(results, "depth").layout.xaxis
    assert axis.tickvals[0] == 0
    assert axis.tickvals[-1] == len(results.facts.units)
    assert results.facts.units[-1] in axis.ticktext[-1]


def test_curves_hold_every_epoch_of_every_trial(results: StudyResults) -> None:
    drawn = {
        (number, epoch): score
        for trace in figure_of(results, "curves").data
        for number, epoch, score in zip(trace.customdata, trace.x, trace.y, strict=True)
        if number is not None
    }
    assert drawn == {
        (trial.number, epoch + 1): pytest.approx(100 * score)
        for trial in results.trials
        for epoch, score in trial.curve.items()
    }


def test_curves_emphasise_the_best_trial_of_each_strategy(results: StudyResults) -> None:
    bold = {trace.customdata[0] for trace in figure_of(results, "curves").data if trace.line.width == 3}
    assert bold == {summary.best.number for summary in results.summaries if summary.best}


def test_comparison_shows_means_seeds_and_cost(results: StudyResults) -> None:
    verdict = results.verdict
    assert verdict is not None
    figure = figure_of(results, "strategies")
    for contender in verdict.contenders:
        mean, seeds, cost = (trace for trace in figure.data if trace.name == contender.strategy)
        assert mean.x[0] == pytest.approx(100 * contender.mean)
        assert mean.error_x.array[0] == pytest.approx(100 * contender.spread)
        assert list(seeds.x) == pytest.approx([100 * score for score in contender.scores])
        assert cost.x[0] == contender.seconds


def test_score_axes_hold_all_points_and_never_magnify_noise(results: StudyResults) -> None:
    for name in ("cost", "depth"):
        figure = figure_of(results, name)
        low, high = figure.layout.yaxis.range
        scores = [y for trace in marks(figure) for y in trace.y]
        assert low < min(scores) <= max(scores) < high
        assert high - low >= 10


def test_a_strategy_has_one_colour_everywhere(results: StudyResults) -> None:
    for name in ("cost", "depth"):
        for trace in marks(figure_of(results, name)):
            assert trace.marker.color == look(trace.name.split()[0]).colour


def test_looks_are_distinct() -> None:
    assert len({look(name) for name in [*STRATEGIES, "another"]}) == len(STRATEGIES) + 1


def test_captions_say_how_many(results: StudyResults) -> None:
    captions = {chart.name: chart.caption for chart in create_charts(results)}
    assert "n = 3 seeds" in captions["strategies"]
    assert "n = 23 trials, 3 of them pruned; 2 failed trials not shown" in captions["cost"]


def test_no_comparison_before_the_finals(undecided: StudyResults) -> None:
    assert [chart.name for chart in create_charts(undecided)] == ["cost", "depth", "curves"]


def test_wide_range_of_costs_is_logarithmic(results: StudyResults) -> None:
    first, *others = results.trials
    wide = replace(results, trials=(replace(first, seconds=2000.0), *others))
    linear, logarithmic = (figure_of(study, "cost").layout.xaxis for study in (results, wide))
    assert linear.type != "log"
    assert logarithmic.type == "log"
    assert "logarithmic" in logarithmic.title.text
