"""What trainings say in MLflow: metrics of an epoch, costs and checks at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..objectives.finetune import FinetuneResult
from ..objectives.training import EpochResult
from ..storage.tracking import TrackedRun


def epoch_metrics(result: EpochResult) -> dict[str, float]:
    """An epoch as MLflow metrics."""
    rates = {f"learning_rate/{part}": rate for part, rate in result.learning_rates.items()}
    return {
        "epoch": result.epoch,
        "train_loss": result.train_loss,
        "val_loss": result.val_loss,
        "val_score": result.score,
        **rates,
    }


def describe(result: FinetuneResult) -> dict[str, Any]:
    """Costs, checks and metrics of a training, as plain values."""
    last = result.certificates[-1]
    return {
        "seconds": result.seconds,
        "best_epoch": result.best_epoch,
        "trainable_parameters": result.trainable_parameters,
        "peak_memory_mb": result.peak_memory_bytes / 2**20,
        "freeze_depth": last.freeze_depth,
        "frozen_parameters": last.frozen_parameters,
        "frozen_parameter_share": result.frozen_share[0],
        "frozen_flop_share": result.frozen_share[1],
        "frozen_check": {check.phase: [check.before, check.after] for check in result.certificates},
        **{f"val/{name}": value for name, value in result.val_metrics.items()},
    }


def log_certificate(run: TrackedRun, result: FinetuneResult) -> None:
    """Keep with a run what each phase froze and trained, with the proof."""
    run.log_json("certificate.json", [certificate.describe() for certificate in result.certificates])


def finish_trial_run(run: TrackedRun, state: str, score: float | None, outcome: Mapping[str, Any]) -> None:
    """Log how a trial ended, and end its run."""
    scores = {} if score is None else {"score": score}
    run.log_summary({**scores, **numbers(outcome)}, {"trial.state": state, **outcome_tags(outcome)})
    run.finish("FAILED" if state == "failed" else "FINISHED")


def numbers(outcome: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in outcome.items() if isinstance(value, int | float)}


def outcome_tags(outcome: Mapping[str, Any]) -> dict[str, str]:
    """The frozen check per phase, and the reason of a failure."""
    tags = {
        f"frozen_check.{phase}": f"{'passed' if before == after else 'FAILED'} {before[:16]} -> {after[:16]}"
        for phase, (before, after) in outcome.get("frozen_check", {}).items()
    }
    return tags | ({"reason": outcome["reason"]} if "reason" in outcome else {})
