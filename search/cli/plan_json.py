"""The conversion of a dry run to plain values for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..space import tables_of

if TYPE_CHECKING:
    from ..study import DryRun, StrategyPlan


def describe_plan(plan: DryRun) -> dict[str, Any]:
    """Return what a search would do and take as plain values for scripts."""
    forecast = plan.forecast
    return {
        "study": plan.settings.name,
        "exists": plan.exists,
        "notes": plan.notes,
        "settings": plan.settings.model_dump(mode="json", exclude={"space"}),
        "space": tables_of(plan.settings.space),
        "images": plan.images,
        "classes": plan.classes,
        "device": plan.device,
        "precision": plan.precision.to_row(),
        "predicted": {
            "trials": forecast.trials,
            "seconds": forecast.seconds,
            "ends_by": "budget" if forecast.by_budget else "trials",
        },
        "strategies": {each.forecast.strategy: _describe_strategy(each) for each in plan.strategies},
    }


def _describe_strategy(plan: StrategyPlan) -> dict[str, Any]:
    return {
        "parameters": plan.parameters,
        "trainable_parameters": plan.trained,
        "trainable_share": plan.trainable_share,
        "predicted_seconds": {"first_trial": plan.forecast.first, "later_trials": plan.forecast.later},
        "predicted_trials": plan.forecast.trials,
        "predicted_memory_mb": plan.memory / 1e6,
    }
