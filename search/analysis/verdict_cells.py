"""The verdict's numbers as cells of tables, the same in the terminal, the report and MLflow."""

from __future__ import annotations

from ...objectives.metrics import find_metric
from ..formats import count, duration, points, with_interval
from .verdict import Contender, Verdict


def verdict_titles(verdict: Verdict) -> tuple[str, ...]:
    """Return the titles of the columns; the first two hold no numbers."""
    how = ", mean ± sd (seeds)" if _has_means(verdict) else ""
    return (
        "strategy",
        "",
        f"test {find_metric(verdict.metric).title} %{how}",
        f"behind leader, points [{100 * verdict.confidence:.0f} % interval]",
        "training",
        "trainable weights",
    )


def verdict_cells(contender: Contender, verdict: Verdict) -> tuple[str, ...]:
    """Return the cells of a strategy. One seed has no standard deviation."""
    seeds = len(contender.scores)
    spread = f" ± {points(contender.spread)}" if seeds > 1 else ""
    of = f" ({seeds})" if _has_means(verdict) else ""
    return (
        contender.strategy,
        verdict.standing(contender),
        f"{points(contender.mean)}{spread}{of}",
        _gap(contender),
        duration(contender.seconds),
        count(contender.trainable_parameters),
    )


def _has_means(verdict: Verdict) -> bool:
    """Return whether a strategy has more than one seed."""
    return any(len(contender.scores) > 1 for contender in verdict.contenders)


def _gap(contender: Contender) -> str:
    """Return the gap to the leader with its interval, in percentage points."""
    return "leader" if contender.interval is None else with_interval(contender.gap_to_leader, contender.interval)
