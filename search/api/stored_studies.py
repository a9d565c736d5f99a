"""Studies that there are already: listed, and opened for reading without torch."""

from __future__ import annotations

from pathlib import Path

from ...storage.workspace import Workspace
from ..study import Study as StoredStudy
from ..study import study_names
from .errors import public_errors
from .study import Study


def load_study(name: str, *, workspace: str | Path | None = None, storage: str | None = None) -> Study:
    """Open a study for reading, also while it runs.

    Args:
        name: Name of the study.
        workspace: Folder of the study's files; see :func:`run_search`.
        storage: URL of its shared database.

    Raises:
        FrostlineError: There is no such study.
    """
    with public_errors():
        return Study(StoredStudy.load(name, locate(workspace, storage)))


def list_studies(*, workspace: str | Path | None = None, storage: str | None = None) -> list[str]:
    """Return the names of all studies of a workspace.

    Args:
        workspace: Folder of the studies' files; see :func:`run_search`.
        storage: URL of their shared database.

    Raises:
        FrostlineError: The database cannot be used.
    """
    with public_errors():
        return study_names(locate(workspace, storage))


def locate(folder: str | Path | None, storage: str | None, artifacts: str | None = None) -> Workspace:
    """Return the workspace that the arguments name; see :meth:`Workspace.locate`."""
    return Workspace.locate(None if folder is None else Path(folder), storage, artifacts)
