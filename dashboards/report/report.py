"""The report: one self-contained HTML file, readable without a server or network."""

from __future__ import annotations

import base64
import gzip
import json
import os
import shlex
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from ...objectives.data import Gallery, option_name
from ...objectives.metrics import find_metric
from ...objectives.precision import AUTO
from ...search.analysis import INDIFFERENCE, MIN_TRIALS, Verdict, count_outcomes
from ...search.durations import write_duration
from ...search.formats import count, duration, plural, points
from ...search.records import finished
from ...search.space import COMPETING, tables_of, write_space
from ...search.study import CANDIDATES, SEED_OFFSET, StudyResults, StudySettings
from ..charts import Chart, create_charts
from ..tables import (
    calibration_rows,
    common_settings,
    configuration_rows,
    cost_rows,
    failed_rows,
    leak_rows,
    metric_rows,
    selection_rows,
    status_rows,
    textbook_rows,
    verdict_rows,
)
from .data_audit import audit
from .effect_panels import MIN_FOR_MEDIAN, create_panels
from .effects import MIN_SHOWN, StrategyEffects, find_effects
from .error_analysis import analyze_finalists
from .fault_lists import list_faults

_TEMPLATES = Path(__file__).with_name("templates")
# Number of skipped files that the report lists; it counts the others.
SKIPPED_SHOWN = 50
# Number of classes above which their table is collapsed.
CLASSES_SHOWN = 30


def write_report(
    results: StudyResults, path: Path, gallery: Gallery | None = None, others: Sequence[StudyResults] = ()
) -> Path:
    """Write the report of a study, finished or running.

    Args:
        results: Results of the study.
        path: File to write; its folder is created. An older report is replaced in one step.
        gallery: Images of the study, for pictures of mistakes; None for a report without pictures.
        others: Results of other finished studies, over which the textbook's advice is judged too.

    Returns:
        Path of the report.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_text(render_report(results, gallery, others), encoding="utf-8")
        return draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def render_report(results: StudyResults, gallery: Gallery | None = None, others: Sequence[StudyResults] = ()) -> str:
    """Return the report as HTML; see :func:`write_report`."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(_context(results, gallery, others))


def describe_extent(results: StudyResults) -> str:
    """Return how many trials are done, and what is used of the budget, in a sentence."""
    settings, done = results.settings, finished(results.trials)
    of = plural(done, "trial") if settings.trials is None else f"{done} of {settings.trials} trials"
    if settings.budget is None:
        return f"{of} done."
    return f"{of} done; {duration(results.used_seconds)} of the budget of {duration(settings.budget)} used."


def search_command(settings: StudySettings) -> str:
    """Return the command that repeats the search, with one option a line."""
    options: list[tuple[str, Any]] = [
        ("--backbone", settings.backbone),
        ("--weights", settings.weights),
        ("--image-size", settings.image_size),
        *([("--trials", settings.trials)] if settings.trials else []),
        *([("--budget", write_duration(settings.budget))] if settings.budget else []),
        *([("--stop-when-sure", f"{settings.stop_when_sure:g}")] if settings.stop_when_sure else []),
        ("--metric", settings.metric),
        *([("--sampler", settings.sampler)] if settings.sampler else []),
        ("--seed", settings.seed),
        *([("--folds", settings.folds)] if settings.folds else []),
    ]
    if not settings.finals_limited:
        options.append(("--seeds", settings.finals_seeds))
    if settings.candidates != CANDIDATES:
        options.append(("--candidates", settings.candidates))
    if set(settings.strategies) != set(COMPETING):
        options += [("--strategy", name) for name in settings.strategies]
    options += [("--plugin", name) for name in settings.plugins]
    if settings.precision != AUTO:
        options.append(("--precision", settings.precision))
    if settings.indifference != 100 * INDIFFERENCE:
        options.append(("--indifference", f"{settings.indifference:g}"))
    lines = [["frostline", "search", settings.data], *([name, str(setting)] for name, setting in options)]
    lines += [] if settings.racing else [["--no-race"]]
    lines += [
        [option_name(field)] if value is True else [option_name(field), str(value)]
        for field, value in _listing_options(settings).items()
    ]
    return " \\\n  ".join(map(shlex.join, lines))


def _listing_options(settings: StudySettings) -> dict[str, str | bool | int]:
    """Return what was said of the data, by option; the image root from anywhere."""
    given = settings.listing.given()
    return given | ({"image_root": settings.listing.root_of(settings.data)} if "image_root" in given else {})


def describe_evidence(verdict: Verdict) -> str:
    """Return sentences on the winner's cost and its gap to the next strategy, or to the leader."""
    won, leader = verdict.winner, verdict.leader
    price = f"A training takes {duration(won.seconds)} and trains {count(won.trainable_parameters)} weights."
    if len(verdict.contenders) == 1:
        return price
    other, compared = (verdict.contenders[1], verdict.contenders[1]) if won is leader else (leader, won)
    low, high = compared.interval or (0.0, 0.0)
    gap = f"{points(compared.gap_to_leader)} points {'less' if won is leader else 'more'}"
    near = f"{'The next' if won is leader else 'The leader'}, {other.strategy}, scored {gap}"
    sure = f"{100 * verdict.confidence:.0f} % interval {points(low)} to {points(high)}"
    return f"{price} {near} ({sure}) and takes {duration(other.seconds)}."


def _unfolded(effects: Sequence[StrategyEffects], verdict: Verdict | None) -> str | None:
    """Return the strategy whose panels are open at first: the winner's if it has panels, else the first; or None."""
    names = [own.strategy for own in effects]
    return verdict.winner.strategy if verdict and verdict.winner.strategy in names else next(iter(names), None)


def _context(results: StudyResults, gallery: Gallery | None, others: Sequence[StudyResults]) -> dict[str, Any]:
    verdict = results.verdict
    charts = create_charts(results)
    effects = find_effects(results)
    return {
        "settings": results.settings,
        "facts": results.facts,
        "device": results.device,
        "versions": results.versions,
        "extent": describe_extent(results),
        "verdict": verdict,
        "evidence": describe_evidence(verdict) if verdict else None,
        "warnings": results.warnings,
        "examinations": analyze_finalists(results, gallery),
        "pictures": gallery is not None,
        "panels": create_panels(effects),
        "unfolded": _unfolded(effects, verdict),
        "least_shown": MIN_SHOWN,
        "least_median": MIN_FOR_MEDIAN,
        "least_explained": MIN_TRIALS,
        "textbook": results.textbook,
        "textbook_table": textbook_rows([results, *others]),
        "textbook_count": count_outcomes(each.textbook for each in (results, *others)),
        "audit": audit(results.facts, gallery),
        "faults": list_faults(results, gallery),
        "leak_table": leak_rows(verdict, verdict.leaks) if verdict and verdict.leaks else None,
        "space_file": write_space(tables_of(results.settings.space)),
        "final_seeds": [results.settings.seed + SEED_OFFSET + place for place in range(results.settings.finals_seeds)],
        "verdict_table": verdict_rows(verdict) if verdict else None,
        "selection_table": selection_rows(results.selection) if verdict else None,
        "luckiest": max(results.selection, key=lambda each: each.highest_test, default=None),
        "metric_table": metric_rows(verdict) if verdict else None,
        "cost_table": cost_rows(verdict) if verdict else None,
        "calibration_table": calibration_rows(verdict) if verdict else None,
        "metric": find_metric(results.settings.metric).title,
        "status_table": status_rows(results),
        "failed_table": failed_rows(results),
        "common_settings": common_settings(results),
        "configuration_table": configuration_rows(results),
        "skipped_shown": SKIPPED_SHOWN,
        "classes_shown": CLASSES_SHOWN,
        "command": search_command(results.settings),
        "charts": charts,
        "figures": _pack(_figures(charts)),
        "plotly": _packed_plotly() if charts else "",
    }


def _figures(charts: Sequence[Chart]) -> str:
    """Return all figures as one JSON object, by name."""
    members = (f"{json.dumps(chart.name)}: {chart.figure.to_json()}" for chart in charts)
    return "{" + ", ".join(members) + "}"


def _pack(text: str) -> str:
    """Return a text compressed with gzip, as base64, which is safe in HTML; browsers decompress it."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def _packed_plotly() -> str:
    return _pack(get_plotlyjs())
