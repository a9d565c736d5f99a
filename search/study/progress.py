"""What an unfinished study does now, and how it goes on, in a sentence."""

from __future__ import annotations

from ...storage.database import PAUSE, STOP
from ..formats import duration, plural
from ..records import finished
from .forecast import trials_left
from .results import StudyResults


def progress_sentence(results: StudyResults, option: str = "") -> str:
    """Say how much of a study is done, who works on it, and how to go on; of a finished one, its budget.

    Args:
        results: The study as it stands.
        option: Options that commands need to find the study, with a space before them.
    """
    if results.state == "finished":
        return _budget(results).strip()
    return f"{_done(results)} {_work(results, f'frostline resume {results.settings.name}{option}')}"


def _done(results: StudyResults) -> str:
    trained, running, missing = len(results.finals), results.running_finals, results.missing_finals
    if missing is None:
        limit, ended = results.settings.trials, finished(results.trials)
        of = f"{plural(ended, 'trial')}" if limit is None else f"{ended} of {limit} trials"
        return f"{of} {'has' if of == '1 trial' else 'have'} ended.{_budget(results)}"
    said = f"finals: {trained} trained, {running} running, {missing - running} more in this round."
    return f"All trials have ended; {said}{_budget(results)}"


def _budget(results: StudyResults) -> str:
    """Say what is used and left of the budget; nothing without one."""
    if (budget := results.settings.budget) is None:
        return ""
    used = results.used_seconds
    said = f" {duration(used)} of the budget of {duration(budget)} is used"
    if used >= budget:
        return f"{said}, nothing is left."
    more = trials_left(results)
    about = "" if more is None else f", enough for about {plural(more, 'more trial')}"
    return f"{said}, {duration(budget - used)} is left{about}."


def _work(results: StudyResults, resume: str) -> str:
    if results.wish == PAUSE:
        return f"The study is paused. Continue: {resume}"
    if results.workers:
        return f"Workers: {results.workers}."
    how = "The study was stopped" if results.wish == STOP else "No worker is running"
    return f"{how}. Resume it: {resume}"
