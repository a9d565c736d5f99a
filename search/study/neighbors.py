"""The finished studies of a workspace, for what is counted over all of them, or taken over from them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from ...objectives.errors import InvalidInputError
from ...storage.errors import StorageError
from ...storage.workspace import Workspace
from .finalists import choose_finalists
from .portfolio import Best, PastStudy, Portfolio, describe
from .results import StudyResults
from .studies import study_names
from .study import Study

# Largest number of studies that are read: each takes a moment.
_MOST = 50

_Read = TypeVar("_Read")


def finished_neighbors(study: Study) -> list[StudyResults]:
    """Return the results of the other studies of a database whose textbook advice can be judged, latest first."""
    return _read_others(study.workspace, study.settings.name, _judgeable)


def portfolio_of(workspace: Workspace) -> Portfolio:
    """Return the best configurations of the finished studies of a database, latest first."""
    return Portfolio(studies=tuple(_read_others(workspace, "", _past_study)))


def write_portfolio(workspace: Workspace, path: Path) -> Portfolio:
    """Write the best configurations of the finished studies of a database as JSON.

    Raises:
        InvalidInputError: There is no finished study, or the file cannot be written.
    """
    found = portfolio_of(workspace)
    if not found.studies:
        raise InvalidInputError(
            f"There is no finished study in {workspace.root}, so there is nothing to write. "
            "Run one with: frostline search DATA; or choose another folder with --workspace."
        )
    found.write(path)
    return found


def _read_others(workspace: Workspace, name: str, read: Callable[[Study], _Read | None]) -> list[_Read]:
    """Return what is read of all studies but one, latest first; of some, nothing is."""
    found: list[_Read] = []
    for other in reversed(study_names(workspace)):
        if other == name or len(found) == _MOST:
            continue
        # The creation of one may have been interrupted, and another version may have recorded one.
        with suppress(InvalidInputError, StorageError, ValidationError), closing(Study.load(other, workspace)) as study:
            if (result := read(study)) is not None:
                found.append(result)
    return found


def _judgeable(study: Study) -> StudyResults | None:
    nearness = study.diagnoses.nearness()
    measured = nearness is not None and not nearness.reason
    return study.results() if measured and study.complete() else None


def _past_study(study: Study) -> PastStudy | None:
    """Return the finalists of a finished study: the best configurations, as another training of each found."""
    if not study.complete():
        return None
    settings, facts, finals = study.settings, study.facts, study.final_scores()
    best = {}
    for strategy, trial in choose_finalists(settings, study.trials(), facts.val_images, finals).items():
        own = [each.val_score for each in finals if (each.strategy, each.trial_number) == (strategy, trial.number)]
        values = {name: trial.config[name] for name in settings.space.strategies[strategy] if name in trial.config}
        if own:
            best[strategy] = Best(values=values, score=sum(own) / len(own), seeds=len(own))
    if not best:
        return None
    counts = {"images": facts.counts["train"], "classes": len(facts.classes), "units": len(facts.units)}
    return PastStudy(
        name=settings.name, description=describe(settings, **counts, fingerprint=facts.fingerprint), best=best
    )
