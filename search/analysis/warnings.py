"""What a reader of a verdict must know besides it: what it does not judge, and test splits that decide little."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ..records import BUDGET, TrialRecord
from .comparison import MIN_TEST_IMAGES
from .verdict import Verdict


def find_warnings(verdict: Verdict, trials: Sequence[TrialRecord], strategies: Sequence[str]) -> tuple[str, ...]:
    """Return the warnings, each a sentence or two.

    Args:
        verdict: Verdict of the study.
        trials: Trials of the study.
        strategies: Names of the strategies that compete.

    Examples:
        >>> from frostline.search.analysis.warnings import describe_missing
        >>> from frostline.search.records import TrialRecord
        >>> describe_missing("full", [TrialRecord(0, "failed", "full", reason="the loss is not finite")])
        'full is not judged: its only trial failed (the loss is not finite).'
    """
    found = []
    if verdict.test_images < MIN_TEST_IMAGES:
        found.append(
            f"Only {verdict.test_images} test images: they decide little. "
            f"Give at least {MIN_TEST_IMAGES}, better some hundreds."
        )
    judged = {contender.strategy for contender in verdict.contenders}
    found += [
        f"The configuration of trial {trial.number}, {trial.strategy}, failed when it was trained again "
        f"({trial.final_failed}); the next best took its place."
        for trial in trials
        if trial.final_failed and trial.strategy in judged
    ]
    found += [describe_missing(strategy, trials) for strategy in strategies if strategy not in judged]
    return tuple(found)


def describe_missing(strategy: str, trials: Sequence[TrialRecord]) -> str:
    """Return why a strategy has no finalist."""
    own = [trial for trial in trials if trial.strategy == strategy]
    if not own:
        more = "More trials or budget change that: frostline resume STUDY --trials N, or --budget +10m"
        return f"{strategy} is not judged: it had no trial. {more}"
    reasons = Counter(why for trial in own if (why := trial.reason or trial.final_failed))
    told = f" ({'; '.join(reasons)})" if reasons else ""
    if len(own) == 1:
        return f"{strategy} is not judged: its only trial {_ended(own[0])}{told}."
    if any(trial.final_failed for trial in own):
        return f"{strategy} is not judged: its configurations failed when they were trained again{told}."
    states = {trial.state for trial in own}
    how = _ended(own[0]) if len(states) == 1 else "failed or were pruned"
    return f"{strategy} is not judged: all of its {len(own)} trials {how}{told}."


def _ended(trial: TrialRecord) -> str:
    if trial.final_failed:
        return "failed when it was trained again"
    if trial.ended_by == BUDGET:
        return "was ended"
    return {"failed": "failed", "pruned": "was pruned"}.get(trial.state, "did not end")
