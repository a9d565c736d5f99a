"""The other finished studies of a workspace, for what is counted over all of them."""

from __future__ import annotations

from contextlib import suppress

from ...objectives.errors import InvalidInputError
from ...storage.errors import StorageError
from ...storage.workspace import Workspace
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
        # The creation of one may have been interrupted, and another version may have recorded one.
        with suppress(InvalidInputError, StorageError):
            found += _judgeable(name, study.workspace)
    return found


def _judgeable(name: str, workspace: Workspace) -> list[StudyResults]:
    other = Study.load(name, workspace)
    try:
        nearness = other.diagnoses.nearness()
        measured = nearness is not None and not nearness.reason
        return [other.results()] if measured and other.complete() else []
    finally:
        other.close()
