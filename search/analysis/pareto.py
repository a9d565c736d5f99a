"""Which trials are worth their cost: those that no other beats in score without costing more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..records import TrialRecord


def pareto_front(trials: Sequence[TrialRecord], cost: Callable[[TrialRecord], float | None]) -> list[TrialRecord]:
    """The complete trials on the Pareto front of score (more is better) and cost (less is better).

    Args:
        trials: Any; those that are not complete, or whose cost is unknown, are left out.
        cost: Of a trial.

    Returns:
        Cheapest first, so with rising scores; of equals in both, the earliest trial.
    """
    known = [
        (price, -trial.score, trial.number, trial)
        for trial in trials
        if trial.state == "complete" and trial.score is not None and (price := cost(trial)) is not None
    ]
    front: list[TrialRecord] = []
    best = float("-inf")
    for _, _, _, trial in sorted(known, key=lambda row: row[:3]):
        assert trial.score is not None
        if trial.score > best:
            front.append(trial)
            best = trial.score
    return front
