"""The MLflow runs of trials and finals: begun and ended the same way by who trains and by who puts MLflow right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...storage.tracking.tracker import TrackedRun, Tracker
from ..execution.session import final_key, strategy_key, trial_key
from ..records import FinalRecord
from ..sampling.budget import STRATEGY
from .training_runs import trial_name


def start_trial_run(tracker: Tracker, number: int, config: Mapping[str, Any], backbone: str) -> TrackedRun:
    """The run of a trial.

    Args:
        tracker: Of the study.
        number: Of the trial.
        config: Its active parameters by dotted name.
        backbone: Name of the network.
    """
    tags = {STRATEGY: str(config[STRATEGY]), "kind": "trial"}
    return tracker.run(trial_key(number), trial_name(number, config, backbone), config, tags)


def start_final_run(
    tracker: Tracker, strategy: str, trial_number: int, seed: int, config: Mapping[str, Any]
) -> TrackedRun:
    """The run of a final, below that of its strategy.

    Args:
        tracker: Of the study.
        strategy: Of the finalist.
        trial_number: The trial whose configuration it is.
        seed: Of the training.
        config: Active parameters of that trial.
    """
    return tracker.run(
        final_key(strategy, trial_number, seed),
        f"seed {seed} {strategy}",
        {**config, "seed": seed, "trial": trial_number},
        {STRATEGY: strategy, "kind": "final"},
        parent=strategy_key(strategy),
    )


def finish_final_run(run: TrackedRun, final: FinalRecord, costs: Mapping[str, float]) -> None:
    """Log how a final ended, and end its run, with the test score in its name."""
    # As for a trial, `score` is the best of the epochs' `val_score`.
    scores = {"score": final.val_score, "test_score": final.test_score}
    scores |= {f"test/{name}": value for name, value in final.metrics.items()}
    run.log_summary({**costs, **scores}, {"trial.state": "complete"})
    run.finish("FINISHED", f"seed {final.seed} {final.strategy} {final.test_score:.3f}")
