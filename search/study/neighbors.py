"""The other finished studies of a workspace, for what is counted over all of them."""

from __future__ import annotations

from ...objectives.errors import InvalidInputError
from .optuna_storage import study_names
from .results import StudyResults
from .study import Study

# Largest number of studies that are read: each takes a moment.
_MOST = 50


def finished_neighbors(study: Study) -> list[StudyResults]:
    """Return the results of the other studies of a database whose textbook advice can be judged, latest first."""
    found: list[StudyResults] = []
    for name in reversed(study_names(study.workspace)):
        if name == study.settings.name or len(found) == _MOST:
            continue
        try:
            other = Study.load(name, study.workspace)
        # Its creation was interrupted.
        except InvalidInputError:
            continue
        nearness = other.diagnoses.nearness()
        if nearness is not None and not nearness.reason and other.complete():
            found.append(other.results())
        other.close()
    return found
