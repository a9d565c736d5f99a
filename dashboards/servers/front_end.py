"""The front end of the installed MLflow: whether it reads views as Frostline writes them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PLAIN_VIEW = (
    f"MLflow {version('mlflow')} lists the runs by date: its pages do not read Frostline's view, which groups them by "
    "strategy. The numbers are the same: frostline report STUDY shows them."
)
# Its main script, relative to the package.
_SCRIPTS = "server/js/build/static/js", "main*.js"


def reads_views(words: Iterable[str]) -> bool:
    """Return whether the main script of MLflow's pages has all words of a view.

    Args:
        words: Words by which the pages read a view; see :func:`frostline.storage.tracking.view_words`.
    """
    spec = find_spec("mlflow")
    folder, pattern = Path(str(spec and spec.origin)).parent / _SCRIPTS[0], _SCRIPTS[1]
    script = "".join(file.read_text(encoding="utf-8") for file in folder.glob(pattern))
    return all(word in script for word in words)
