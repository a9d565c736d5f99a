"""The conversion of a study to plain values for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..records import StrategySummary, finished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..analysis import DataCurve, Selection, Verdict
    from ..study import StudyResults


# Of the values that :func:`describe` gives; docs/json.md describes them. A value that changes its meaning or place, or
# goes, raises it; one that is added does not.
SCHEMA = 2


def describe(results: StudyResults) -> dict[str, Any]:
    """Return a study as plain values for scripts."""
    return {
        "schema": SCHEMA,
        "study": results.settings.name,
        "settings": results.settings.model_dump(mode="json", exclude={"space"}),
        "budget": results.settings.trials,
        "finished": finished(results.trials),
        "strategies": {summary.strategy: _describe_summary(summary) for summary in results.summaries},
        "verdict": _describe_verdict(results.verdict, results.selection),
        "warnings": results.warnings,
        "curve": _describe_curve(results.curve),
    }


def _describe_summary(summary: StrategySummary) -> dict[str, Any]:
    best = summary.best
    return {
        "complete": summary.complete,
        "pruned": summary.pruned,
        "failed": summary.failed,
        "running": summary.running,
        "seconds": summary.seconds,
        "best": None if best is None else {"trial": best.number, "score": best.score, "config": best.config},
    }


def _describe_verdict(verdict: Verdict | None, selection: Sequence[Selection]) -> dict[str, Any] | None:
    if verdict is None:
        return None
    contenders = [
        {
            "strategy": contender.strategy,
            "trial": contender.trial_number,
            "test": {
                "mean": contender.mean,
                "spread": contender.spread,
                "scores": contender.scores,
                "interval": contender.score_interval,
            },
            "metrics": dict(contender.metrics),
            "temperature": contender.temperature,
            "calibrated_metrics": dict(contender.calibrated_metrics),
            "gap_to_leader": contender.gap_to_leader,
            "interval": contender.interval,
            "tied": contender.tied,
            "as_good": contender.as_good,
            "validation": {"search": chosen.search_score, "trials": chosen.tried, "mean": chosen.val_mean},
            "probability_best": verdict.best_shares[contender.strategy],
            "seconds": contender.seconds,
            "trainable_parameters": contender.trainable_parameters,
        }
        for contender, chosen in zip(verdict.contenders, selection, strict=True)
    ]
    return {
        "winner": verdict.winner.strategy,
        "leader": verdict.leader.strategy,
        "undecided": verdict.undecided,
        "indifference": verdict.indifference,
        "metric": verdict.metric,
        "test_images": verdict.test_images,
        "confidence": verdict.confidence,
        "sentence": verdict.sentence(),
        "contenders": contenders,
    }


def _describe_curve(curve: DataCurve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    points = [
        {
            "strategy": point.strategy,
            "images": point.images,
            "test": {"mean": point.mean, "scores": point.scores, "interval": point.interval},
            "difference": point.difference,
            "interval": point.difference_interval,
        }
        for point in curve.points
    ]
    crossovers = {
        crossover.strategy: {
            "images": crossover.point.images if crossover.point else None,
            "significant": crossover.significant,
            "sentence": crossover.sentence(),
        }
        for crossover in curve.crossovers
    }
    return {"confidence": curve.confidence, "points": points, "crossovers": crossovers}
