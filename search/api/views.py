"""What shows a study: the layer above, found by its entry point, since imports point down only."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from ...storage.errors import StorageError
from ..study import Observer, Study, StudyResults

GROUP = "frostline.views"


class Views(Protocol):
    """What the Python interface shows."""

    def observer(self) -> Observer:
        """Return an observer that shows a running study: live in a terminal or notebook, elsewhere line by line."""
        ...

    def report(self, study: Study, path: Path | None = None) -> Path:
        """Write a study's report and return its path."""
        ...

    def html(self, results: StudyResults) -> str:
        """Return a study as HTML for a notebook."""
        ...


@cache
def views() -> Views:
    """Return the installed views.

    Raises:
        StorageError: The installation has none.
    """
    found = next(iter(entry_points(group=GROUP)), None)
    if found is None:
        raise StorageError("This installation of Frostline has no views. Install it again: pip install frostline")
    return found.load()()
