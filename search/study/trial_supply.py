"""The supply of trials: tickets for all of them, or for some ahead where only the budget limits them."""

from __future__ import annotations

from collections.abc import Collection

from ...storage.database import Tickets
from .ending import Ending
from .settings import StudySettings

# Tickets to issue at a time where only the budget limits the trials.
AHEAD = 64


def issue_trials(tickets: Tickets, settings: StudySettings, done: Collection[int] = ()) -> None:
    """Issue the missing tickets of a search that has not ended early.

    Args:
        tickets: Tickets of the study's trials.
        settings: Settings of the study.
        done: Numbers of new tickets whose trials have ended.
    """
    tickets.issue(AHEAD if settings.trials is None else settings.trials, done=done)


def issue_further(tickets: Tickets, settings: StudySettings) -> bool:
    """Issue further tickets where only the budget limits the trials; return whether some can be claimed now."""
    if settings.trials is not None or settings.budget is None:
        return False
    use = tickets.use()
    if use.seconds >= settings.budget:
        return False
    # Another worker may have issued some.
    if use.done + use.begun == use.issued:
        tickets.issue(use.issued + AHEAD)
    return True


def search_ended(tickets: Tickets, settings: StudySettings, ending: Ending | None) -> bool:
    """Return whether no trial is left on any machine: all have ended, or the budget is spent and none is begun.

    A search that ended early has no tickets but those that were begun.
    """
    use = tickets.use()
    if (settings.trials is not None or ending is not None) and use.done >= use.issued:
        return True
    return settings.budget is not None and use.seconds >= settings.budget and not use.begun
