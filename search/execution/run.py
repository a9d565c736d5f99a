"""The run of a study, from the first trial to the verdict."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from ...objectives.errors import InvalidInputError, TrainingFailedError
from ...storage.database import PAUSE, RUN, STOP
from ...storage.tracking import StudyTracker
from ...storage.workspace import Workspace
from ..records import finished
from ..slots import ProcessResources, Resources, check_resources, create_engine
from ..stopping import Stopped, Stopper
from ..study import (
    Extension,
    Observer,
    Prepared,
    Request,
    Study,
    prepare_fork,
    prepare_resume,
    prepare_search,
    reopen,
)
from ..tracking import describe_datasets, drop_networks, kept_models, log_models, log_verdict
from .data_audit import audit_data, complete_nearness
from .finals import run_finals
from .frozen_libraries import libraries_frozen
from .held_study import hold_study, parent_run
from .model_stock import complete_stock
from .session import WorkerSession, open_session
from .slot_protocol import SlotJob
from .supervisor import SlotSupervisor
from .trials import run_trials

# The program of a slot, by name, because it imports this module.
SLOT = f"{__package__}.slot_process"


def run_search(request: Request, workspace: Workspace | None = None, observer: Observer | None = None) -> Study:
    """Create a study, or resume the one with the same settings, and run it to its verdict.

    Args:
        request: Request of the search.
        workspace: Workspace of the study; by default :meth:`Workspace.locate`.
        observer: Observer of the work.

    Raises:
        InvalidInputError: The request has faults; the message names all, and nothing was created.
        StorageError: Another process works on the study, or a database does not answer.
    """
    place, watch = workspace or Workspace.locate(), observer or Observer()
    return _lead(prepare_search(request, place, watch), request.resources, watch, search=True, audit=request.audit)


def resume(
    name: str,
    workspace: Workspace | None = None,
    observer: Observer | None = None,
    *,
    trials: int | None = None,
    budget: str | None = None,
    stop_when_sure: float | None = None,
    seeds: int | None = None,
    fork: str | None = None,
    resources: Resources | None = None,
) -> Study:
    """Resume a study: finished trials stay, and an interrupted trial resumes from its last checkpoint.

    Args:
        name: Name of the study.
        workspace: Workspace of the study.
        observer: Observer of the work.
        trials: Larger number of trials; None keeps it.
        budget: Larger budget, such as ``30m``, or ``+10m`` for so much more; None keeps it.
        stop_when_sure: Another probability with which the search ends early; 1 runs all trials; None keeps it.
        seeds: Number of seeds that a finalist may have, whatever they cost: an undecided race of the finals goes on.
        fork: Name of a new study with the same settings, to start instead because data or code changed.
        resources: Resources to train on.

    Raises:
        InvalidInputError: There is no such study, or its data, weights, code or libraries changed.
    """
    place, watch = workspace or Workspace.locate(), observer or Observer()
    resources = resources or Resources()
    check_resources(resources, place)
    extension = Extension(trials, seeds, budget, stop_when_sure)
    if fork is not None:
        return _lead(prepare_fork(name, fork, place, watch, extension), resources, watch, search=True)
    prepared = prepare_resume(name, place, watch, extension)
    request_run(prepared.study)
    return _lead(prepared, resources, watch, search=True)


def rerun_finals(
    name: str,
    workspace: Workspace | None = None,
    observer: Observer | None = None,
    *,
    resources: Resources | None = None,
) -> Study:
    """Run the missing finals of the best trials so far, without further trials."""
    place, watch = workspace or Workspace.locate(), observer or Observer()
    resources = resources or Resources()
    check_resources(resources, place)
    return _lead(prepare_resume(name, place, watch), resources, watch, search=False)


def request_run(study: Study) -> bool:
    """Let all workers of a study run; return whether they were paused or stopped."""
    slept = study.wish.get() != RUN
    study.wish.set(RUN)
    return slept


def load_study(name: str, workspace: Workspace | None = None) -> Study:
    """Open a study for reading."""
    return Study.load(name, workspace or Workspace.locate())


class SearchInterrupted(KeyboardInterrupt):
    """The user interrupted the search; the message says how to resume."""


def _lead(prepared: Prepared, resources: Resources, observer: Observer, *, search: bool, audit: bool = True) -> Study:
    """Work on a study to its verdict."""
    study = prepared.study
    try:
        with hold_study(study, observer) as tracker, parent_run(tracker):
            tracker.parent_run.log_datasets(describe_datasets(prepared.dataset, study.settings.data))
            if search:
                observer.study_started(study.settings, study.trials())
                _tell_early_end(study, observer)
                audit_data(prepared, resources, observer, wanted=audit)
            _work(prepared, resources, tracker, observer, search=search)
            _require_finalists(study)
            complete_nearness(prepared, resources)
            results = study.results()
            if (verdict := results.verdict) is not None:
                stock = complete_stock(prepared, resources, verdict.winner, results.stock, observer)
                drop_networks(study)
                log_verdict(study, tracker, verdict, replace(results, stock=stock), observer.note)
    except KeyboardInterrupt:
        raise SearchInterrupted(
            f"Stopped. Resume with: frostline resume {study.settings.name}{study.workspace.option}"
        ) from None
    finally:
        observer.close()
    return study


def join(
    name: str,
    workspace: Workspace,
    observer: Observer,
    *,
    resources: Resources,
    data: str | None = None,
    image_root: str | None = None,
    tracking_uri: str | None = None,
) -> None:
    """Work on a study started on another machine until no work is left; the launcher logs the verdict.

    Args:
        name: Name of the study.
        workspace: Workspace of this machine, with the shared database.
        observer: Observer of the work.
        resources: Resources to train on.
        data: Location of the dataset on this machine, if it differs from the study's.
        image_root: Folder on this machine from which the paths of a table start, if it differs.
        tracking_uri: URI of MLflow on this machine, if it differs from the study's.

    Raises:
        InvalidInputError: There is no such study, its dataset is missing here, or this machine cannot reach its MLflow.
        StorageError: Another process of this workspace works on the study, or a database does not answer.
    """
    check_resources(resources, workspace)
    study = Study.load(name, workspace)
    if tracking_uri is None and study.tracking_uri is None and workspace.storage is not None:
        raise InvalidInputError(
            f"Study {name!r} keeps its MLflow runs in its first workspace, which this machine may not reach. "
            "Give --tracking-uri here and there, with an MLflow that both machines reach."
        )
    study.require_artifacts()
    prepared = reopen(study, observer, data, image_root)
    try:
        with hold_study(study, observer, tracking_uri) as tracker:
            observer.study_started(study.settings, study.trials())
            _work(prepared, resources, tracker, observer, search=True, data=data, image_root=image_root)
            # This machine's networks are in its own workspace: no other machine can register them.
            results = study.results()
            if (verdict := results.verdict) is not None:
                drop_networks(study)
                log_models(study, tracker, verdict, kept_models(study, verdict, results.stock), observer.note)
                # Joining set the parent run to RUNNING; finish it, the launcher may be gone.
                tracker.parent_run.finish("FINISHED")
    except KeyboardInterrupt:
        raise SearchInterrupted("Stopped. Other workers take over what was not finished.") from None
    finally:
        observer.close()


def _work(
    prepared: Prepared,
    resources: Resources,
    tracker: StudyTracker,
    observer: Observer,
    *,
    search: bool,
    data: str | None = None,
    image_root: str | None = None,
) -> None:
    """Work in this process if there is one worker, else in one process per slot."""
    study, engine = prepared.study, create_engine(resources)
    where = engine.places()
    observer.workers_at_work(len(where))
    if engine.in_process and len(where) == 1:
        own = ProcessResources.all_of(resources)
        opened = open_session(study, prepared.dataset, prepared.backbones, own, tracker, observer)
        with opened as session, libraries_frozen():
            run_until_done(session, search=search)
        return
    work = SlotJob(
        study=study.settings.name,
        root=str(study.workspace.root),
        storage=study.workspace.storage,
        artifacts_url=study.workspace.artifacts_url,
        data=data,
        image_root=image_root,
        device=resources.device,
        cache_bytes=engine.share(len(where)),
        threads=0,
        retries=resources.retries,
        search=search,
        timing=study.workspace.timing,
    )
    stopper = Stopper(grace=None)
    with stopper.listening():
        SlotSupervisor(study, work, tracker, observer, partial(engine.start, SLOT)).run(where, stopper)


def run_until_done(session: WorkerSession, *, search: bool) -> None:
    """Run the trials and finals that are left, as one worker; wait while the study is paused."""
    while True:
        try:
            if search:
                run_trials(session)
            return run_finals(session)
        except Stopped:
            session.worker.release()
            if session.stopper.signalled or session.study.wish.get() != PAUSE:
                raise
        study = session.study
        session.observer.note(f"paused; resume with: frostline resume {study.settings.name}{study.workspace.option}")
        _pause(session)


def _pause(session: WorkerSession) -> None:
    """Wait until the study is resumed.

    Raises:
        Stopped: A stop was requested.
    """
    while (wish := session.study.wish.get()) == PAUSE and not session.stopper.signalled:
        time.sleep(session.study.workspace.timing.look)
    if wish == STOP or session.stopper.signalled:
        raise Stopped
    session.stopper.asked = False
    session.observer.note("the study continues")


def _tell_early_end(study: Study, observer: Observer) -> None:
    """Say of a search that ended early why it did, and how to go on."""
    if (ending := study.ending()) is not None:
        why = ending.sentence(study.settings, finished(study.trials()), study.tickets.use().seconds)
        go_on = f"frostline resume {study.settings.name}{study.workspace.option} --stop-when-sure"
        observer.note(f"{why} Run all trials: {go_on} 1, or end it when surer: {go_on} 0.99")


def _require_finalists(study: Study) -> None:
    if not study.candidates(study.trials()):
        reasons = {why for trial in study.trials() if (why := trial.reason or trial.final_failed)}
        raise TrainingFailedError(
            "\n".join([f"No trial of study {study.settings.name!r} was completed: no verdict.", *sorted(reasons)])
        )
