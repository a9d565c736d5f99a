"""The report: one HTML file with everything in it, readable without a server or a network."""

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

from ..objectives.metrics import METRICS
from ..search.default_space import COMPETING
from ..search.records import finished
from ..search.results import StudyResults
from ..search.settings import StudySettings
from .charts import Chart, create_charts
from .tables import configuration_rows, failed_rows, metric_rows, status_rows, verdict_rows

_TEMPLATES = Path(__file__).with_name("templates")
# Skipped files beyond these are only counted: a page is no place for thousands of them.
SKIPPED_SHOWN = 50
# More classes than these are folded away.
CLASSES_SHOWN = 30


def write_report(results: StudyResults, path: Path) -> Path:
    """Write the report of a study, complete or under way.

    Args:
        results: The study as it stands.
        path: The file; its folder is made. An older report there is replaced in one step.

    Returns:
        The path.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(render_report(results), encoding="utf-8")
    return draft.replace(path)


def render_report(results: StudyResults) -> str:
    """The report as HTML."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(_context(results))


def search_command(settings: StudySettings) -> str:
    """What to type to ask the same question again, an option a line."""
    options: list[tuple[str, Any]] = [
        ("--backbone", settings.backbone),
        ("--weights", settings.weights),
        ("--image-size", settings.image_size),
        ("--trials", settings.trials),
        ("--metric", settings.metric),
        ("--seed", settings.seed),
        ("--seeds", settings.finals_seeds),
    ]
    if set(settings.strategies) != set(COMPETING):
        options += [("--strategy", name) for name in settings.strategies]
    options += [("--plugin", name) for name in settings.plugins]
    lines = [["frostline", "search", settings.data], *([name, str(setting)] for name, setting in options)]
    return " \\\n  ".join(map(shlex.join, lines))


def _context(results: StudyResults) -> dict[str, Any]:
    verdict = results.verdict
    charts = create_charts(results)
    return {
        "settings": results.settings,
        "facts": results.facts,
        "device": results.device,
        "versions": results.versions,
        "done": finished(results.trials),
        "verdict": verdict,
        "verdict_table": verdict_rows(verdict) if verdict else None,
        "metric_table": metric_rows(verdict) if verdict else None,
        "metric": METRICS[results.settings.metric].title,
        "status_table": status_rows(results),
        "failed_table": failed_rows(results),
        "configuration_table": configuration_rows(results),
        "skipped_shown": SKIPPED_SHOWN,
        "classes_shown": CLASSES_SHOWN,
        "command": search_command(results.settings),
        "charts": charts,
        "figures": _pack(_figures(charts)),
        "plotly": _packed_plotly() if charts else "",
    }


def _figures(charts: Sequence[Chart]) -> str:
    """All figures as one JSON object, by name."""
    members = (f"{json.dumps(chart.name)}: {chart.figure.to_json()}" for chart in charts)
    return "{" + ", ".join(members) + "}"


def _pack(text: str) -> str:
    """Compressed, in characters that are safe anywhere in HTML; browsers inflate it themselves."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


@cache
def _packed_plotly() -> str:
    return _pack(get_plotlyjs())
