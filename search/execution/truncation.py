"""The diagnosis of a study's pretrained network: a probe after each unit, tested once the study has its verdict.

It opens the test split, as finals do, and after them: nothing of it reaches a trial, a final or the verdict.
"""

from __future__ import annotations

import numpy as np

from ...objectives.cut_probes import LATENCY_BATCH, probe_cuts
from ...objectives.errors import InvalidInputError
from ...storage.workspace import Workspace
from ..analysis import Truncation, compare_cuts
from ..slots import ProcessResources, Resources, check_resources
from ..study import Observer, Study, reopen
from .held_study import hold_study, parent_run
from .run import SearchInterrupted, request_run, rerun_finals
from .session import WorkerSession, describe_device, open_session


def run_truncation(
    name: str,
    workspace: Workspace | None = None,
    observer: Observer | None = None,
    *,
    resources: Resources | None = None,
) -> Study:
    """Probe the pretrained network after each unit, and measure what each cut costs; on the same device only once.

    Missing finals are run first, so that nobody sees test scores before the verdict.

    Args:
        name: Name of the study.
        workspace: Workspace of the study.
        observer: Observer of the work.
        resources: Resources; one process probes.

    Raises:
        InvalidInputError: There is no such study, it has no pretrained weights, no trial of it is complete, or its
            data or weights changed.
    """
    place, watch, used = workspace or Workspace.locate(), observer or Observer(), resources or Resources()
    check_resources(used, place)
    study = Study.load(name, place)
    _check(study)
    request_run(study)
    if not study.decided():
        study = rerun_finals(name, place, watch, resources=used)
    try:
        _diagnose(study, used, watch)
    except KeyboardInterrupt:
        command = f"frostline truncate {study.settings.name}{study.workspace.option}"
        raise SearchInterrupted(f"Stopped. Start again with: {command}") from None
    finally:
        watch.close()
    return study


def _check(study: Study) -> None:
    faults = []
    if study.settings.weights == "none":
        faults.append(
            f"Study {study.settings.name!r} has no pretrained weights (--weights none): there is nothing to truncate. "
            "Give a study with pretrained weights."
        )
    if not study.candidates(study.trials()):
        name = f"{study.settings.name}{study.workspace.option}"
        faults.append(f"No trial of study {study.settings.name!r} is complete. Resume it: frostline resume {name}")
    if faults:
        raise InvalidInputError(faults)


def _diagnose(study: Study, resources: Resources, observer: Observer) -> None:
    prepared = reopen(study, observer, trains=False)
    own = ProcessResources.all_of(resources)
    with hold_study(study, observer) as tracker, parent_run(tracker):
        opened = open_session(study, prepared.dataset, prepared.backbones, own, tracker, observer)
        with opened as session:
            known = study.diagnoses.truncation()
            if known is None or known.device != describe_device(session.task.device):
                found = _probe(session)
                study.diagnoses.keep_truncation(found)
                tracker.parent_run.log_summary({}, {"frostline.truncation": found.sentence()})


def _probe(session: WorkerSession) -> Truncation:
    task, settings = session.task, session.study.settings
    test = session.dataset.open_test()

    def on_cut(done: int, cuts: int) -> None:
        session.stopper.check()
        session.observer.note(f"probe {done}/{cuts}")

    folds = [(fold.train, fold.val) for fold in session.folds] or [(task.train, task.val)]
    probes = probe_cuts(folds, test, task.backbones, task.device, task.store, on_cut)
    return compare_cuts(
        probes,
        np.concatenate([val.labels for _, val in folds]),
        test.labels,
        task.metric,
        indifference=settings.indifference / 100,
        batch=LATENCY_BATCH,
        device=describe_device(task.device),
    )
