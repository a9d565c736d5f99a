from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from frostline.dashboards.charts.charts import create_charts
from frostline.dashboards.charts.drawing import Chart
from frostline.dashboards.palette import look
from frostline.objectives.strategies import STRATEGIES
from frostline.search.study.results import StudyResults


@pytest.fixture(scope="module")
def charts(results: StudyResults) -> Sequence[Chart]:
    """Those of ``results``, to read: Plotly takes half a second to make them."""
    return create_charts(results)


def figure_of(charts: Sequence[Chart], name: str) -> Any:
    """The figure of that name, untyped: Plotly declares its attributes at run time."""
    return next(chart.figure for chart in charts if chart.name == name)


def marks(figure: Any) -> Iterator[Any]:
    return (trace for trace in figure.data if "markers" in (trace.mode or ""))


def scored(results: StudyResults) -> dict[int, Any]:
    return {trial.number: trial for trial in results.trials if trial.score is not None}


def test_cost_shows_every_scored_trial_at_its_seconds_and_score(results: StudyResults, charts: Sequence[Chart]) -> None:
    drawn = {
        number: (x, y)
        for trace in marks(figure_of(charts, "cost"))
        for number, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    assert drawn == {
        number: (pytest.approx(trial.seconds), pytest.approx(100 * trial.score, abs=0.005))
        for number, trial in scored(results).items()
    }


def test_depth_shows_every_scored_trial_beside_its_depth(results: StudyResults, charts: Sequence[Chart]) -> None:
    traces = list(marks(figure_of(charts, "depth")))
    drawn = {
        number: (depth, y) for trace in traces for (number, depth), y in zip(trace.customdata, trace.y, strict=True)
    }
    shifts = [x - depth for trace in traces for (_, depth), x in zip(trace.customdata, trace.x, strict=True)]
    assert drawn == {
        number: (trial.freeze_depth, pytest.approx(100 * trial.score, abs=0.005))
        for number, trial in scored(results).items()
    }
    assert max(map(abs, shifts)) < 0.5


def test_depth_axis_ends_at_all_units_frozen(results: StudyResults, charts: Sequence[Chart]) -> None:
    axis: Any = figure_of(charts, "depth").layout.xaxis
    assert axis.tickvals[0] == 0
    assert axis.tickvals[-1] == len(results.facts.units)
    assert results.facts.units[-1] in axis.ticktext[-1]


def test_curves_hold_every_epoch_of_every_trial(results: StudyResults, charts: Sequence[Chart]) -> None:
    drawn = {
        (number, epoch): score
        for trace in figure_of(charts, "curves").data
        for number, epoch, score in zip(trace.customdata, trace.x, trace.y, strict=True)
        if not math.isnan(number)
    }
    assert drawn == {
        (trial.number, epoch + 1): pytest.approx(100 * score, abs=0.005)
        for trial in results.trials
        for epoch, score in trial.curve.items()
    }


def test_curves_over_folds_say_so(results: StudyResults) -> None:
    over = create_charts(replace(results, settings=results.settings.model_copy(update={"folds": 5})))
    figure = figure_of(over, "curves")
    assert figure.layout.xaxis.title.text == "fold"
    assert all("epoch" not in trace.hovertemplate for trace in figure.data)


def test_curves_emphasise_the_best_trial_of_each_strategy(results: StudyResults, charts: Sequence[Chart]) -> None:
    bold = {trace.customdata[0] for trace in figure_of(charts, "curves").data if trace.line.width == 3}
    assert bold == {summary.best.number for summary in results.summaries if summary.best}


def test_comparison_shows_means_seeds_and_cost(results: StudyResults, charts: Sequence[Chart]) -> None:
    verdict = results.verdict
    assert verdict is not None
    figure = figure_of(charts, "strategies")
    for contender in verdict.contenders:
        mean, seeds, cost = (trace for trace in figure.data if trace.name == contender.strategy)
        assert mean.x[0] == pytest.approx(100 * contender.mean)
        low, high = contender.score_interval
        assert mean.x[0] + mean.error_x.array[0] == pytest.approx(100 * high)
        assert mean.x[0] - mean.error_x.arrayminus[0] == pytest.approx(100 * low)
        assert list(seeds.x) == pytest.approx([100 * score for score in contender.scores])
        assert cost.x[0] == contender.seconds


def test_score_axes_hold_all_points_and_never_magnify_noise(charts: Sequence[Chart]) -> None:
    for name in ("cost", "depth"):
        figure = figure_of(charts, name)
        low, high = figure.layout.yaxis.range
        scores = [y for trace in marks(figure) for y in trace.y]
        assert low < min(scores) <= max(scores) < high
        assert high - low >= 10


def test_a_strategy_has_one_color_everywhere(charts: Sequence[Chart]) -> None:
    for name in ("cost", "depth"):
        for trace in marks(figure_of(charts, name)):
            assert trace.marker.color == look(trace.name.split()[0]).color


def test_looks_are_distinct() -> None:
    assert len({look(name) for name in [*STRATEGIES, "another"]}) == len(STRATEGIES) + 1


def test_captions_say_how_many(charts: Sequence[Chart]) -> None:
    captions = {chart.name: chart.caption for chart in charts}
    assert "n = 3 seeds" in captions["strategies"]
    assert "n = 23 trials, 3 of them pruned; 2 failed trials not shown" in captions["cost"]


def test_no_comparison_before_the_finals(undecided: StudyResults) -> None:
    assert [chart.name for chart in create_charts(undecided)] == [
        "cost",
        "depth",
        "weights",
        "budget",
        "progress",
        "curves",
    ]


def test_wide_range_of_costs_is_logarithmic(results: StudyResults, charts: Sequence[Chart]) -> None:
    first, *others = results.trials
    wide = replace(results, trials=(replace(first, seconds=2000.0), *others))
    linear, logarithmic = (figure_of(each, "cost").layout.xaxis for each in (charts, create_charts(wide)))
    assert linear.type != "log"
    assert logarithmic.type == "log"
    assert "logarithmic" in logarithmic.title.text


def front_of(figure: Any) -> list[tuple[float, float]]:
    (line,) = (trace for trace in figure.data if (trace.name or "").startswith("Pareto front"))
    return list(zip(line.x, line.y, strict=True))


def undominated(points: set[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, score): those that none beats in one without losing in the other, cheapest first."""
    return sorted(
        (cost, score)
        for cost, score in points
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    )


def test_the_dotted_line_is_the_pareto_front_of_complete_trials(results: StudyResults, charts: Sequence[Chart]) -> None:
    complete = [trial for trial in results.trials if trial.state == "complete"]
    costs = {
        "cost": {(trial.seconds or 0, round(100 * (trial.score or 0), 2)) for trial in complete},
        "weights": {(trial.trainable_parameters or 0, round(100 * (trial.score or 0), 2)) for trial in complete},
    }
    for name, points in costs.items():
        assert front_of(figure_of(charts, name)) == undominated(points)


def test_weights_show_every_trial_of_which_they_are_known(results: StudyResults) -> None:
    first, *others = results.trials
    some = replace(results, trials=(replace(first, trainable_parameters=None), *others))
    drawn = {
        number: (x, y)
        for trace in marks(figure_of(create_charts(some), "weights"))
        for number, x, y in zip(trace.customdata, trace.x, trace.y, strict=True)
    }
    expected = {
        number: (t.trainable_parameters, pytest.approx(100 * t.score, abs=0.005)) for number, t in scored(some).items()
    }
    del expected[first.number]
    assert drawn == expected


@pytest.mark.parametrize(("factor", "unit", "length"), [(1, "s", 1), (10, "min", 60), (1000, "h", 3600)])
def test_budget_ends_at_the_device_time_of_each_strategy(
    results: StudyResults, factor: float, unit: str, length: float
) -> None:
    trials = tuple(replace(trial, seconds=factor * (trial.seconds or 0)) for trial in results.trials)
    figure = figure_of(create_charts(replace(results, trials=trials)), "budget")
    assert figure.layout.yaxis.title.text == f"device time, {unit}"
    for trace in figure.data:
        own = [trial for trial in trials if trial.strategy == trace.name.split()[0]]
        assert trace.y[-1] == pytest.approx(sum(trial.seconds or 0 for trial in own) / length)
        assert trace.y[-1] < figure.layout.yaxis.range[1]
        assert [number for number in trace.customdata if number is not None] == [trial.number for trial in own]
        assert list(trace.y) == sorted(trace.y)


def test_best_so_far_is_the_running_maximum_of_complete_trials(results: StudyResults, charts: Sequence[Chart]) -> None:
    figure = figure_of(charts, "progress")
    for strategy in results.settings.strategies:
        by_trials, by_time = (trace for trace in figure.data if trace.name == strategy)
        own = [trial for trial in results.trials if trial.strategy == strategy]
        for place, number in enumerate(by_trials.customdata):
            so_far = [trial for trial in own if trial.number <= number]
            best = max(trial.score for trial in so_far if trial.state == "complete" and trial.score is not None)
            assert by_trials.y[place] == by_time.y[place] == pytest.approx(100 * best, abs=0.005)
            assert by_trials.x[place] == len(so_far)
            assert by_time.x[place] == pytest.approx(sum(trial.seconds or 0 for trial in so_far))
        assert by_trials.customdata[-1] == own[-1].number


def test_a_study_whose_trials_all_failed_has_its_costs_only(undecided: StudyResults) -> None:
    failed = tuple(replace(trial, state="failed", score=None, curve={}) for trial in undecided.trials)
    assert [chart.name for chart in create_charts(replace(undecided, trials=failed))] == ["budget"]
