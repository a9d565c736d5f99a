"""The truncation chart shows the records; without a diagnosis there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from frostline.dashboards.charts import create_charts
from frostline.dashboards.charts.truncation_chart import plot_truncation
from frostline.dashboards.report.report import render_report
from frostline.search.analysis import Cut, Truncation
from frostline.search.study.results import StudyResults


def make_truncation() -> Truncation:
    scores = (0.6, 0.78, 0.9, 0.905)
    cuts = tuple(
        Cut(
            units=place,
            unit=f"<b>layer{place}",
            parameters=1000 * place,
            size=4_000_000 * place,
            latency=0.002 * place,
            batch_latency=0.03 * place,
            val_score=value,
            test_score=value - 0.01,
            interval=(value - 0.05, value + 0.03),
            difference=value - scores[-1],
            difference_interval=(value - scores[-1] - 0.02, value - scores[-1] + 0.02),
            joint_interval=(value - scores[-1] - 0.04, value - scores[-1] + 0.04),
            likely_behind=0.005,
        )
        for place, value in enumerate(scores, 1)
    )
    return Truncation("accuracy", cuts, 90, 0.01, 32, "CPU, 2 threads")


def test_the_chart_is_the_cuts(results: StudyResults) -> None:
    truncation = make_truncation()
    chart = plot_truncation(truncation)
    traces: Any = chart.figure.data
    latency, size = traces
    assert list(latency.x) == pytest.approx([2, 4, 6, 8])
    assert list(size.x) == pytest.approx([4, 8, 12, 16])
    for trace in (latency, size):
        assert list(trace.y) == pytest.approx([59, 77, 89, 89.5])
        assert list(trace.error_y.array) == pytest.approx([4] * 4)
        assert list(trace.error_y.arrayminus) == pytest.approx([4] * 4)
        assert list(trace.marker.symbol) == ["circle", "circle", "star", "circle"]
    assert truncation.sentence() in chart.caption
    assert "on CPU, 2 threads" in chart.caption
    assert chart.data.emphasised == 2
    assert chart.data.rows[2] == (
        "3",
        "<b>layer3",
        "90.0",
        "89.0",
        "−0.5 [−2.5, 1.5]",
        "6.0 ms",
        "90 ms",
        "12 MB",
    )
    page = render_report(replace(results, truncation=truncation))
    assert 'id="truncation-title">A smaller network' in page
    assert "truncation-title" not in render_report(results)
    assert "truncation" not in {chart.name for chart in create_charts(results)}


def test_the_costs_of_finalists_are_a_table_of_the_report(results: StudyResults) -> None:
    verdict = results.verdict
    assert verdict is not None
    page = render_report(results)
    assert "What each finalist costs, measured at its finals" in page
    assert page.count(">5.0 ms</td>") == len(verdict.contenders)
    assert page.count(">45 MB</td>") == len(verdict.contenders)
    older = replace(
        results,
        finals=tuple(replace(final, device_seconds=None, latency=None, size=None) for final in results.finals),
    )
    assert "What each finalist costs" not in render_report(older)
