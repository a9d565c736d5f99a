"""The chart of the data-size curve: its points are the trainings', and it is in the report when there are any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from frostline.dashboards.charts.charts import create_charts
from frostline.dashboards.report.report import render_report
from frostline.search.cli.results_json import describe
from frostline.search.study.results import StudyResults


def chart_of(results: StudyResults) -> Any:
    return next(chart for chart in create_charts(results) if chart.name == "data-curve")


def test_points_lie_at_means_of_seeds_with_their_intervals(results: StudyResults) -> None:
    figure, curve = chart_of(results).figure, results.curve
    assert curve is not None
    measured = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [trace.name for trace in measured] == list(results.settings.strategies)
    assert figure.layout.xaxis.type == "log"
    assert list(figure.layout.xaxis.tickvals) == curve.sizes == [52, 105, 210, 420]
    for trace in measured:
        groups: dict[int, list[float]] = {size: [] for size in curve.sizes}
        for record in results.trainings:
            if record.final.strategy == trace.name:
                groups[record.images].append(record.final.test_score)
        groups[420] = [final.test_score for final in results.finals if final.strategy == trace.name]
        assert list(trace.y) == pytest.approx([100 * np.mean(scores) for scores in groups.values()])
        # Moved a little, so that strategies do not hide each other.
        assert list(trace.x) == pytest.approx(list(groups), rel=0.1)
        assert [place[0] for place in trace.customdata] == list(groups)
        assert [place[3] for place in trace.customdata] == [2, 2, 2, 3]
        for point, up, down in zip(curve.of(trace.name), trace.error_y.array, trace.error_y.arrayminus, strict=True):
            assert (100 * point.mean + up, 100 * point.mean - down) == pytest.approx(
                (100 * point.interval[1], 100 * point.interval[0])
            )
    low, high = figure.layout.yaxis.range
    assert all(low <= 100 * edge <= high for point in curve.points for edge in point.interval)


def test_the_numbers_are_told_in_words_too(results: StudyResults) -> None:
    chart, curve = chart_of(results), results.curve
    assert curve is not None
    assert "n = 2 to 3 seeds a point" in chart.caption
    assert all(crossover.sentence() in chart.caption for crossover in curve.crossovers)
    assert [(row[0], row[1]) for row in chart.data.rows if "projected" not in row[1]] == [
        (point.strategy, str(point.images)) for point in curve.points
    ]
    page = render_report(results)
    assert 'id="data-curve-title">Accuracy against training images' in page


def test_projections_go_on_from_the_last_point_to_four_times_the_images(results: StudyResults) -> None:
    chart, curve = chart_of(results), results.curve
    assert curve is not None
    projected = {projection.strategy: projection.gains for projection in curve.projections if projection.gains}
    assert projected
    dotted = [trace for trace in chart.figure.data if trace.mode == "lines"]
    assert len(dotted) == len(projected)
    for trace, (strategy, gains) in zip(dotted, projected.items(), strict=True):
        last = curve.of(strategy)[-1]
        assert list(trace.x) == pytest.approx([420, 630, 840, 1680], rel=0.1)
        assert list(trace.y) == pytest.approx([100 * (last.mean + gain) for gain in (0, *(g.gain for g in gains))])
        rows = [row for row in chart.data.rows if row[0] == strategy]
        assert [row[1] for row in rows] == ["52", "105", "210", "420", *(f"{n} projected" for n in (630, 840, "1,680"))]
    assert all(projection.sentence() in chart.caption for projection in curve.projections)
    assert "Dotted lines are projections" in chart.caption
    described = describe(results)["curve"]["projections"]
    assert set(described) == set(results.settings.strategies)
    for strategy, gains in projected.items():
        shown = [(each["images"], each["gain"], each["interval"]) for each in described[strategy]["gains"]]
        assert shown == [(gain.images, gain.gain, gain.interval) for gain in gains]
        assert described[strategy]["refused"] is None


def test_without_trainings_there_is_no_chart(results: StudyResults) -> None:
    without = replace(results, trainings=())
    assert "data-curve" not in {chart.name for chart in create_charts(without)}
    assert "training images (logarithmic)" not in render_report(without)
    assert "data-curve" not in render_report(without)
