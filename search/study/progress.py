"""What an unfinished study does now, and how it goes on, in a sentence."""

from __future__ import annotations

from ...storage.database import PAUSE, STOP
from ..records import finished
from .results import StudyResults


def progress_sentence(results: StudyResults, option: str = "") -> str:
    """Say how much of a study is done, who works on it, and how to go on; nothing of a finished one.

    Args:
        results: The study as it stands.
        option: Options that commands need to find the study, with a space before them.
    """
    if results.state == "finished":
        return ""
    return f"{_done(results)} {_work(results, f'frostline resume {results.settings.name}{option}')}"


def _done(results: StudyResults) -> str:
    trained, running, missing = len(results.finals), results.running_finals, results.missing_finals
    if missing is None:
        return f"{finished(results.trials)} of {results.settings.trials} trials have ended."
    return (
        f"All trials have ended; finals: {trained} trained, {running} running, {missing - running} more in this round."
    )


def _work(results: StudyResults, resume: str) -> str:
    if results.wish == PAUSE:
        return f"The study is paused. Continue: {resume}"
    if results.workers:
        return f"Workers: {results.workers}."
    how = "The study was stopped" if results.wish == STOP else "No worker is running"
    return f"{how}. Resume it: {resume}"
