"""The Pareto front of trials: those that no other trial beats in score at the same or lower cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..records import TrialRecord


def pareto_front(trials: Sequence[TrialRecord], cost: Callable[[TrialRecord], float | None]) -> list[TrialRecord]:
    """Return the complete trials on the Pareto front of score (higher is better) and cost (lower is better).

    Args:
        trials: Trials in any state; incomplete trials and trials of unknown cost are left out.
        cost: Function that returns the cost of a trial; None if unknown.

    Returns:
        Trials by rising cost, so by rising score; of trials equal in both, the earliest.

    Examples:
        >>> from frostline.search.analysis import pareto_front
        >>> from frostline.search.records import TrialRecord
        >>> scores = {0: (0.80, 3.0), 1: (0.90, 9.0), 2: (0.70, 5.0)}
        >>> trials = [TrialRecord(n, "complete", score=score, seconds=s) for n, (score, s) in scores.items()]
        >>> [trial.number for trial in pareto_front(trials, lambda trial: trial.seconds)]
        [0, 1]
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
