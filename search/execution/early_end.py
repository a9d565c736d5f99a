"""The early end of a search: before a worker claims a trial, it asks whether another one can still matter."""

from __future__ import annotations

from collections.abc import Sequence

from ..records import TrialRecord, finished
from ..study import Study, judge_ending


class EarlyEnd:
    """Ends the search of a study when it is as sure of its leader as was asked.

    The answer follows from the trials that have ended, so whichever worker asks comes to it, after a kill too. The end
    is one transaction (:class:`~frostline.storage.database.EndingsTable`): no worker begins another trial after it, and
    those under way run to their ends.

    Args:
        study: Study of the worker.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        # Number of ended trials that were judged last.
        self._judged = 0

    @property
    def asked(self) -> bool:
        """Return whether the search may end early."""
        return self._study.settings.stop_when_sure is not None

    def look(self, trials: Sequence[TrialRecord]) -> None:
        """End the search if another strategy's winning has become unlikely.

        Args:
            trials: All trials, those that other workers have ended included.

        Raises:
            UnreachableError: The database cannot be used.
        """
        study = self._study
        # Another process may have extended it.
        study.read_budget()
        if (ending := study.ending()) is None and finished(trials) != self._judged:
            self._judged = finished(trials)
            ending = judge_ending(study.settings, study.facts, trials, study.tickets.use().seconds)
        if ending is not None:
            # Again at each look: a worker that had not read of the end may have issued tickets.
            study.endings.end(ending.to_row())
