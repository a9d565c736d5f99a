"""Running a study from the first trial to the verdict."""

from __future__ import annotations

from ..objectives.errors import TrainingFailedError
from ..storage.workspace import Workspace
from .finals import finalists, run_finals
from .planning import Prepared, Request, prepare_resume, prepare_search
from .progress import Observer
from .session import Session, open_session
from .study import Study
from .tracked_verdict import log_verdict
from .trials import run_trials


def run_search(request: Request, workspace: Workspace | None = None, observer: Observer | None = None) -> Study:
    """Create a study, or go on with the one that asks the same, and run it to its verdict.

    Args:
        request: What to search.
        workspace: Where to keep it; see :meth:`Workspace.locate`.
        observer: Told what happens.

    Raises:
        InvalidInputError: Wrong input, all faults at once, before anything was made.
        StorageError: Another process works on the study, or a database does not answer.
    """
    place, watch = workspace or Workspace.locate(), observer or Observer()
    return _work(prepare_search(request, place, watch), request.device, request.cache_budget, watch, search=True)


def resume(
    name: str,
    workspace: Workspace | None = None,
    observer: Observer | None = None,
    *,
    trials: int | None = None,
    device: str = "auto",
    cache_budget: str = "auto",
) -> Study:
    """Go on with a study where it stopped: finished trials stay, one that was cut off goes on from its last checkpoint.

    Args:
        name: Of the study.
        workspace: Where it is kept.
        observer: Told what happens.
        trials: A larger budget.
        device: Where to train.
        cache_budget: Size of the feature cache, such as ``4GB``.
    """
    place, watch = workspace or Workspace.locate(), observer or Observer()
    return _work(prepare_resume(name, place, watch, trials), device, cache_budget, watch, search=True)


def rerun_finals(
    name: str, workspace: Workspace | None = None, observer: Observer | None = None, *, device: str = "auto"
) -> Study:
    """Run what finals are missing for the best trials so far, without further trials."""
    place, watch = workspace or Workspace.locate(), observer or Observer()
    return _work(prepare_resume(name, place, watch), device, "auto", watch, search=False)


def load_study(name: str, workspace: Workspace | None = None) -> Study:
    """Open a study for reading."""
    return Study.load(name, workspace or Workspace.locate())


class SearchInterrupted(KeyboardInterrupt):
    """Ctrl-C; the message says how to go on."""


def _work(prepared: Prepared, device: str, cache_budget: str, observer: Observer, *, search: bool) -> Study:
    study = prepared.study
    try:
        with open_session(study, prepared.dataset, prepared.backbones, device, cache_budget, observer) as session:
            if search:
                run_trials(session)
            _require_finalists(session)
            run_finals(session)
            verdict = study.results().verdict
            if verdict is not None:
                log_verdict(session, verdict)
    except KeyboardInterrupt:
        raise SearchInterrupted(
            "Stopped. The trial in flight is not counted. "
            f"Go on with: frostline resume {study.settings.name}{study.workspace.option}"
        ) from None
    finally:
        observer.close()
    return study


def _require_finalists(session: Session) -> None:
    if not finalists(session):
        reasons = {trial.reason for trial in session.study.trials() if trial.reason}
        raise TrainingFailedError(
            "\n".join(
                [f"No trial of study {session.study.settings.name!r} was completed: no verdict.", *sorted(reasons)]
            )
        )
