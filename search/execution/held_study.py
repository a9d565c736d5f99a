"""A study as a process of this machine holds it: locked, with its tracker, and its MLflow runs set right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from ...storage.database import expire_dead_workers
from ...storage.locks import exclusive
from ...storage.tracking import StudyTracker
from ..records import FINISHED
from ..study import Observer, Study
from ..tracking import complete_runs, curve_key, final_key, parent_tags, trial_key


@contextmanager
def hold_study(study: Study, observer: Observer, tracking_uri: str | None = None) -> Iterator[StudyTracker]:
    """Lock a study on this machine and open its tracker while the context is open.

    Args:
        study: Study to lock.
        observer: Observer of the work.
        tracking_uri: URI of MLflow on this machine, if it differs from the study's.

    Raises:
        StudyBusyError: Another process of this machine has locked the study.
        StorageError: The files of the study in the workspace cannot be written.
    """
    with exclusive(study.workspace, study.settings.name), closing(_tracker(study, observer, tracking_uri)) as tracker:
        expire_dead_workers(study.database, study.settings.name)
        _close_finished_runs(study, tracker, observer)
        try:
            yield tracker
        except BaseException:
            for _, run in tracker.unfinished():
                run.finish("KILLED")
            raise


@contextmanager
def parent_run(tracker: StudyTracker) -> Iterator[None]:
    """Finish the parent run with the status of the search."""
    try:
        yield
    except BaseException as error:
        tracker.parent_run.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    tracker.parent_run.finish("FINISHED")


def _tracker(study: Study, observer: Observer, uri: str | None) -> StudyTracker:
    return StudyTracker(
        uri or study.tracking_uri, study.workspace, study.identify(), parent_tags(study), note=observer.note
    )


def _close_finished_runs(study: Study, tracker: StudyTracker, observer: Observer) -> None:
    """Finish the runs whose training ended just before a kill, and remove their checkpoints."""
    trained = {trial_key(trial.number) for trial in study.trials() if trial.state in FINISHED}
    trained |= {final_key(*identity) for identity in study.final_identities()}
    trained |= {curve_key(*identity) for identity in study.curve.trained()}
    study.checkpoints(observer.note).sweep(trained)
    unfinished = dict(tracker.unfinished())
    open_keys = (unfinished | dict(tracker.cut_off())).keys()
    ended = complete_runs(study, tracker, open_keys, every=tracker.may_lack_records)
    for key in unfinished.keys() - ended:
        unfinished[key].finish("KILLED")
