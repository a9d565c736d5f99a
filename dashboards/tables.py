"""Text tables that the terminal and the report share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..objectives.calibration import CALIBRATED_METRICS
from ..objectives.metrics import METRICS, Metric, find_metric
from ..search.analysis import (
    BASELINE,
    Contender,
    CurvePoint,
    Cut,
    DataCurve,
    Gain,
    Leaks,
    SearchGain,
    Selection,
    Truncation,
    Verdict,
    verdict_cells,
    verdict_titles,
)
from ..search.formats import NOTHING, count, duration, latency, megabytes, percent, points, value, with_interval
from ..search.records import StrategySummary, TrialRecord
from ..search.study import StudyResults


class Column(NamedTuple):
    """Title of a column, and whether it holds numbers, which are right-aligned."""

    title: str
    numeric: bool = True


@dataclass(frozen=True)
class TextTable:
    """A table of formatted cells.

    Attributes:
        columns: Titles of the columns.
        rows: Cells of each row, one for each column.
        emphasised: Index of the highlighted row; None if there is none.
        left_out: Number of rows that are not shown.

    Examples:
        >>> from frostline.dashboards.tables import Column, TextTable
        >>> table = TextTable((Column("strategy", numeric=False), Column("trials")), (("full", "12"),))
        >>> [column.title for column in table.columns]
        ['strategy', 'trials']
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    emphasised: int | None = None
    left_out: int = 0


def verdict_rows(verdict: Verdict) -> TextTable:
    """Return the table of finalists, highest mean test score first."""
    columns = tuple(Column(title, numeric=place > 1) for place, title in enumerate(verdict_titles(verdict)))
    rows = tuple(verdict_cells(contender, verdict) for contender in verdict.contenders)
    return TextTable(columns, rows, verdict.contenders.index(verdict.winner))


def leak_rows(verdict: Verdict, leaks: Leaks) -> TextTable:
    """Return the table of the finalists' scores with and without the leaked test images."""
    columns = (
        Column("strategy", numeric=False),
        Column(f"test {find_metric(verdict.metric).title} %, all {leaks.test_images:,} images"),
        Column(f"without the {leaks.images:,} leaked"),
    )
    rows = tuple((c.strategy, points(c.mean), _without(leaks, c.strategy)) for c in verdict.contenders)
    return TextTable(columns, rows, verdict.contenders.index(verdict.winner))


def _without(leaks: Leaks, strategy: str) -> str:
    return points(leaks.scores[strategy]) if strategy in leaks.scores else NOTHING


def metric_rows(verdict: Verdict) -> TextTable:
    """Return the table of all test metrics of the finalists, as means over seeds; unknown ones are blank."""
    metrics = METRICS.values()
    rows = tuple((c.strategy, *(_metric(c.metrics, metric) for metric in metrics)) for c in verdict.contenders)
    columns = (Column("strategy", numeric=False), *(Column(_title(metric)) for metric in metrics))
    return TextTable(columns, rows, verdict.contenders.index(verdict.winner))


def selection_rows(selection: Sequence[Selection]) -> TextTable:
    """Return the table of what choosing added to the scores of the finalists."""
    columns = (
        Column("strategy", numeric=False),
        Column("trials"),
        Column("validation %, best of the search"),
        Column("validation %, fresh seeds"),
        Column("test %, fresh seeds"),
        Column("test %, luckiest seed"),
        Column("test %, default configuration"),
        Column("gained over the default, points [95 % interval]"),
    )
    scores = ("search_score", "val_mean", "test_mean", "highest_test")
    rows = tuple(
        (each.strategy, count(each.tried), *(points(getattr(each, name)) for name in scores), *_gain_cells(each.gain))
        for each in selection
    )
    return TextTable(columns, rows)


def _gain_cells(gain: SearchGain | None) -> tuple[str, str]:
    if gain is None:
        return NOTHING, NOTHING
    if gain.interval is None:
        return points(gain.default_test), "it is the default"
    return points(gain.default_test), with_interval(gain.points, gain.interval)


def cost_rows(verdict: Verdict) -> TextTable | None:
    """Return the table of what each finalist costs; None if older versions recorded all finals."""
    if not any(contender.costs.known for contender in verdict.contenders):
        return None
    columns = (
        Column("strategy", numeric=False),
        *map(Column, ("training", "on the device", "trainable weights", "latency", "size")),
    )
    rows = tuple(_cost_row(contender) for contender in verdict.contenders)
    return TextTable(columns, rows, verdict.contenders.index(verdict.winner))


def _cost_row(contender: Contender) -> tuple[str, ...]:
    costs = contender.costs
    return (
        contender.strategy,
        duration(contender.seconds),
        duration(costs.device_seconds),
        count(contender.trainable_parameters),
        latency(costs.latency),
        megabytes(costs.size),
    )


def calibration_rows(verdict: Verdict) -> TextTable | None:
    """Return the table of what calibration changes, as means over seeds; None if older versions recorded all finals."""
    if all(contender.temperature is None for contender in verdict.contenders):
        return None
    metrics = [METRICS[name] for name in CALIBRATED_METRICS]
    titles = [f"{_title(metric)}{after}" for metric in metrics for after in ("", ", calibrated")]
    columns = (Column("strategy", numeric=False), Column("temperature"), *map(Column, titles))
    rows = tuple(_calibration_row(contender, metrics) for contender in verdict.contenders)
    return TextTable(columns, rows, verdict.contenders.index(verdict.winner))


def _calibration_row(contender: Contender, metrics: Sequence[Metric]) -> tuple[str, ...]:
    temperature = NOTHING if contender.temperature is None else f"{contender.temperature:.2f}"
    sides = contender.metrics, contender.calibrated_metrics
    return (contender.strategy, temperature, *(_metric(side, metric) for metric in metrics for side in sides))


def _title(metric: Metric) -> str:
    return f"{metric.title} %" if metric.share else metric.title


def _metric(values: Mapping[str, float], metric: Metric) -> str:
    mean = values.get(metric.name)
    if mean is None:
        return NOTHING
    return points(mean) if metric.share else f"{mean:.3f}"


def curve_rows(curve: DataCurve) -> TextTable:
    """Return the table of the data-size curve: a row for each strategy and number of training images."""
    columns = (
        Column("strategy", numeric=False),
        Column("training images"),
        Column(f"test {find_metric(curve.metric).title} %, mean [{100 * curve.confidence:.0f} % interval] (seeds)"),
        Column(f"ahead of {BASELINE}, points [interval]"),
    )
    rows = [_curve_row(point) for point in curve.points]
    for projection in curve.projections:
        last = curve.of(projection.strategy)[-1]
        rows += [_projected_row(last, gain) for gain in projection.gains]
    return TextTable(columns, tuple(sorted(rows, key=lambda row: _place(curve, row[0]))))


def _place(curve: DataCurve, strategy: str) -> int:
    return [point.strategy for point in curve.points].index(strategy)


def _projected_row(last: CurvePoint, gain: Gain) -> tuple[str, ...]:
    # The interval is that of the gain alone.
    score = f"{points(last.mean)} + {with_interval(gain.gain, gain.interval)}"
    return (last.strategy, f"{gain.images:,} projected", score, NOTHING)


def _curve_row(point: CurvePoint) -> tuple[str, ...]:
    ahead = NOTHING
    if point.difference is not None and point.difference_interval is not None:
        ahead = with_interval(point.difference, point.difference_interval)
    score = f"{with_interval(point.mean, point.interval)} ({len(point.scores)})"
    return (point.strategy, f"{point.images:,}", score, ahead)


def textbook_rows(every: Sequence[StudyResults]) -> TextTable | None:
    """Return the table of the textbook's advice for each study and what became of it; None without any."""
    columns = (
        Column("study", numeric=False),
        Column("training images a class"),
        Column("fewer errors than on random features"),
        *(Column(title, numeric=False) for title in ("advice", "outcome", "recommended")),
    )
    rows = []
    for results in every:
        if (advice := results.textbook) is not None:
            numbers = (f"{advice.images_per_class:,.0f}", f"{100 * advice.nearness.probe_gap:.0f} %")
            winner = results.verdict.winner.strategy if results.verdict else NOTHING
            rows.append((results.settings.name, *numbers, advice.strategy, advice.outcome or NOTHING, winner))
    return TextTable(columns, tuple(rows)) if rows else None


def truncation_rows(truncation: Truncation) -> TextTable:
    """Return the table of the cuts of the pretrained network; the smaller network that is named is emphasised."""
    columns = (
        Column("units"),
        Column("up to", numeric=False),
        Column("validation %"),
        Column("test %"),
        Column(f"against all, points [{100 * truncation.confidence:.0f} % interval]"),
        Column("latency"),
        Column(f"of {truncation.batch}"),
        Column("size"),
    )
    smaller = truncation.smaller
    emphasised = None if smaller is None else truncation.cuts.index(smaller)
    return TextTable(columns, tuple(_cut_row(cut, truncation.whole) for cut in truncation.cuts), emphasised)


def _cut_row(cut: Cut, whole: Cut) -> tuple[str, ...]:
    return (
        str(cut.units),
        cut.unit,
        points(cut.val_score),
        points(cut.test_score),
        "all" if cut is whole else with_interval(cut.difference, cut.difference_interval),
        latency(cut.latency),
        latency(cut.batch_latency),
        megabytes(cut.size),
    )


def status_rows(results: StudyResults) -> TextTable:
    """Return the table of the strategies' trials by state, with best score and time."""
    columns = (
        Column("strategy", numeric=False),
        *(Column(title) for title in ("complete", "pruned", "failed", "running", "best validation", "time")),
    )
    rows = tuple(_summary_row(summary) for summary in results.summaries)
    return TextTable(columns, rows, _best_row(results.summaries))


def _summary_row(summary: StrategySummary) -> tuple[str, ...]:
    counts = (summary.complete, summary.pruned, summary.failed, summary.running)
    best = percent(summary.best.score) if summary.best else NOTHING
    return (summary.strategy, *map(str, counts), best, duration(summary.seconds))


def _best_row(summaries: Sequence[StrategySummary]) -> int | None:
    scores = [summary.best.score if summary.best and summary.best.score is not None else -1.0 for summary in summaries]
    return scores.index(max(scores)) if scores and max(scores) >= 0 else None


def failed_rows(results: StudyResults) -> TextTable:
    """Return the table of failed trials with their reasons."""
    columns = (Column("trial"), Column("strategy", numeric=False), Column("reason", numeric=False))
    failed = [trial for trial in results.trials if trial.state == "failed"]
    return TextTable(
        columns,
        tuple((str(trial.number), trial.strategy or NOTHING, trial.reason or "unknown") for trial in failed),
    )


def configuration_rows(results: StudyResults) -> TextTable:
    """Return the table of each strategy's best configuration: a row for each parameter, blank if it does not apply.

    Parameters that :func:`common_settings` returns are left out.
    """
    best = [summary.best for summary in results.summaries if summary.best]
    common = common_settings(results)
    names = dict.fromkeys(name for trial in best for name in trial.config if name not in ("strategy", *common))
    columns = (Column("parameter", numeric=False), *(Column(trial.strategy or NOTHING) for trial in best))
    head = (
        ("trial", *(str(trial.number) for trial in best)),
        ("validation score", *(percent(trial.score) for trial in best)),
    )
    return TextTable(columns, head + tuple((name, *(_setting(trial, name) for trial in best)) for name in names))


def common_settings(results: StudyResults) -> dict[str, str]:
    """Return the parameters that no strategy searched and that are equal in all best trials that have them."""
    best = [summary.best for summary in results.summaries if summary.best]
    searched = {
        name
        for domains in results.settings.space.strategies.values()
        for name, domain in domains.items()
        if domain.varies
    }
    settings: dict[str, set[str]] = {}
    for trial in best:
        for name in set(trial.config) - searched - {"strategy"}:
            settings.setdefault(name, set()).add(_setting(trial, name))
    return {name: values.pop() for name, values in sorted(settings.items()) if len(values) == 1}


def _setting(trial: TrialRecord, name: str) -> str:
    setting = trial.config.get(name)
    return NOTHING if setting is None else value(setting)
