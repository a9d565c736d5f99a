"""The conversion of a study to plain values for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..api import describe_verdict
from ..records import StrategySummary, TrialRecord, finished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...objectives.data import Copies, DataFaults, FoundImage
    from ..analysis import Advice, DataCurve, Truncation
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
        "device_budget": _describe_budget(results),
        "finished": finished(results.trials),
        "state": results.state,
        "workers": results.workers,
        "finals": {
            "trained": len(results.finals),
            "running": results.running_finals,
            "missing": results.missing_finals,
        },
        "strategies": {summary.strategy: _describe_summary(summary) for summary in results.summaries},
        "data": {
            "images": results.facts.counts,
            "left_out": dict(results.facts.skipped),
            "notes": results.facts.data_notes,
            "pixel_scale": results.facts.pixel_scale,
        },
        "ended_early": None if results.ending is None else results.ending.to_row(),
        "verdict": _describe_verdict(results),
        "warnings": results.warnings,
        "data_faults": None if results.data_faults is None else _describe_faults(results.data_faults, results),
        "textbook": None if results.textbook is None else _describe_advice(results.textbook),
        "model_stock": None if results.stock is None else results.stock.describe(),
        "curve": _describe_curve(results.curve),
        "truncation": None if results.truncation is None else _describe_truncation(results.truncation),
    }


def _describe_budget(results: StudyResults) -> dict[str, Any] | None:
    """Return the device seconds of the budget; None without one."""
    from ..study import trials_left

    if (budget := results.settings.budget) is None:
        return None
    used = results.used_seconds
    left = max(0.0, budget - used)
    return {"seconds": budget, "used": used, "left": left, "predicted_trials_left": trials_left(results)}


def _describe_summary(summary: StrategySummary) -> dict[str, Any]:
    best = summary.best
    return {
        "complete": summary.complete,
        "pruned": summary.pruned,
        "failed": summary.failed,
        "running": summary.running,
        "seconds": summary.seconds,
        "best": None if best is None else _describe_best(best),
    }


def _describe_best(best: TrialRecord) -> dict[str, Any]:
    fold_scores = [fold.score for fold in best.folds]
    return {"trial": best.number, "score": best.score, "fold_scores": fold_scores, "config": best.config}


def _describe_verdict(results: StudyResults) -> dict[str, Any] | None:
    verdict = describe_verdict(results)
    return None if verdict is None else verdict.model_dump()


def _describe_faults(faults: DataFaults, results: StudyResults) -> dict[str, Any]:
    """Return the number of each fault, and the images by name."""
    classes = results.facts.classes
    kinds = {
        "leaked_test_images": faults.leaks,
        "leaked_validation_images": faults.validation_leaks,
        "pictures_under_several_labels": faults.two_labels,
        "copies_within_a_split": faults.other_copies,
    }
    return {
        "counts": faults.counts,
        "images": {kind: [_describe_copies(group, classes) for group in groups] for kind, groups in kinds.items()},
        "label_errors": [
            {
                **_describe_image(error.image, classes),
                "suggested": classes[error.suggested],
                "probability": error.probability,
                "label_probability": error.label_probability,
            }
            for error in faults.label_errors
        ],
        "classes_never_right_by_a_probe": [classes[label] for label in faults.never_right],
        "groups_in_several_splits": [
            {"group": group.name, "images": dict(group.counts)} for group in faults.straddling
        ],
        "not_sought": dict(faults.not_sought),
    }


def _describe_copies(group: Copies, classes: Sequence[str]) -> dict[str, Any]:
    return {"exact": group.exact, "images": [_describe_image(image, classes) for image in group.images]}


def _describe_image(image: FoundImage, classes: Sequence[str]) -> dict[str, Any]:
    return {"name": image.name, "split": image.place, "label": classes[image.label]}


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
            "earlier": crossover.earlier,
            "significant": crossover.significant,
            "sentence": crossover.sentence(),
        }
        for crossover in curve.crossovers
    }
    projections = {
        projection.strategy: {
            "sentence": projection.sentence(),
            "refused": projection.refused or None,
            "gains": [
                {"images": each.images, "gain": each.gain, "interval": each.interval} for each in projection.gains
            ],
        }
        for projection in curve.projections
    }
    return {"confidence": curve.confidence, "points": points, "crossovers": crossovers, "projections": projections}


def _describe_truncation(truncation: Truncation) -> dict[str, Any]:
    smaller = truncation.smaller
    cuts = [
        {
            "units": cut.units,
            "last_unit": cut.unit,
            "validation": {"score": cut.val_score},
            "test": {"score": cut.test_score, "interval": cut.interval},
            "difference": cut.difference,
            "interval": cut.difference_interval,
            "joint_interval": cut.joint_interval,
            "latency": cut.latency,
            "batch_latency": cut.batch_latency,
            "parameters": cut.parameters,
            "size_mb": cut.size / 1e6,
        }
        for cut in truncation.cuts
    ]
    return {
        "sentence": truncation.sentence(),
        "smaller": None
        if smaller is None
        else {
            "units": smaller.units,
            "confirmed": truncation.confirmed,
            "by_validation": smaller is truncation.chosen,
        },
        "best": truncation.best.units,
        "confidence": truncation.confidence,
        "indifference": truncation.indifference,
        "device": truncation.device,
        "batch": truncation.batch,
        "cuts": cuts,
    }


def _describe_advice(advice: Advice) -> dict[str, Any]:
    return {
        "sentence": advice.sentence(),
        "advice": advice.strategy,
        "outcome": advice.outcome,
        "gap_to_leader": None if advice.contender is None else advice.contender.gap_to_leader,
        "size": advice.size,
        "images_per_class": advice.images_per_class,
        "domain": advice.domain,
        "probe_gap": advice.nearness.probe_gap,
        "probe_pretrained": advice.nearness.pretrained,
        "probe_random": advice.nearness.random,
        "separation": advice.nearness.separation,
    }
