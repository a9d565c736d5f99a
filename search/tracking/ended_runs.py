"""The end of the runs of tested trainings, told from the study's database alone.

What the database does not keep (epochs, certificates, images of mistakes) is told before a training is recorded. So a
process that is killed in between leaves nothing behind that its successor cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

from ...storage.tracking import TrackedRun, Tracker
from ..analysis import CurveRecord, errors_of
from ..records import FINISHED, FinalRecord, TrialRecord
from ..study import Study
from .keys import curve_key, final_key, trial_key
from .training_runs import finish_trial_run, log_errors, start_final_run, start_trial_run, test_numbers


def finish_final_run(run: TrackedRun, final: FinalRecord, study: Study) -> None:
    """Log the end of a recorded final and finish its run, with the test score in its name."""
    log_errors(run, errors_of([final], study.facts.classes))
    run.log_summary(_numbers(final), {"trial.state": "complete"})
    run.finish("FINISHED", f"seed {final.seed} {final.finalist} {final.test_score:.3f}")


def finish_curve_run(run: TrackedRun, training: CurveRecord) -> None:
    """Log the end of a recorded training on part of the images and finish its run, with the test score in its name."""
    final, images = training.final, training.images
    run.log_summary({**_numbers(final), "train_images": images}, {})
    run.finish("FINISHED", f"{curve_name(final.strategy, images, final.seed)} {final.test_score:.3f}")


def curve_name(strategy: str, images: int, seed: int) -> str:
    """Return the name of the run of a training on part of the images while it trains."""
    return f"curve {images} images seed {seed} {strategy}"


def complete_runs(study: Study, tracker: Tracker, open_keys: Iterable[str], *, every: bool = False) -> set[str]:
    """Log the end of recorded trainings whose runs did not end, as after a kill.

    Args:
        study: Study, which the caller has locked.
        tracker: Tracker of the study.
        open_keys: Keys of the runs that did not end.
        every: Whether records may be lost, so that any run may not have ended: all are logged again.

    Returns:
        Keys of the runs that are complete now.
    """
    left = set(open_keys)
    if not left and not every:
        return set()
    ended = set[str]()
    for key, start, tell in _recorded(study):
        if every or key in left:
            run = start(tracker)
            # Files that were written before the training was recorded; their records may be lost with the process.
            for file in tracker.files(key):
                run.log_file(file)
            tell(run)
            ended.add(key)
    return ended


def _recorded(study: Study) -> Iterator[tuple[str, Callable[[Tracker], TrackedRun], Callable[[TrackedRun], None]]]:
    """Yield the key of each recorded training's run, with what starts it if it is missing and what tells its end."""
    trials = study.trials()
    configs = {trial.number: trial.config for trial in trials}
    for trial in trials:
        # A trial with an invalid configuration never started a run.
        if trial.state in FINISHED and trial.config:
            start = partial(start_trial_run, number=trial.number, config=trial.config, backbone=study.settings.backbone)
            yield trial_key(trial.number), start, partial(_tell_trial, study=study, trial=trial)
    for identity in study.final_identities():
        strategy, number, seed = identity
        start = partial(start_final_run, strategy=strategy, trial_number=number, seed=seed, config=configs[number])
        yield final_key(*identity), start, partial(_tell_final, study=study, identity=identity)
    for training in study.curve.trained():
        key = curve_key(*training)
        yield key, partial(Tracker.known, key=key), partial(_tell_curve, study=study, identity=training)


def _tell_trial(run: TrackedRun, study: Study, trial: TrialRecord) -> None:
    finish_trial_run(run, trial, study.settings.backbone, study.outcome(trial.number))


def _tell_final(run: TrackedRun, study: Study, identity: tuple[str, int, int]) -> None:
    finish_final_run(run, study.final_record(*identity), study)


def _tell_curve(run: TrackedRun, study: Study, identity: tuple[str, int, int]) -> None:
    for training in study.curve_records():
        final = training.final
        if (final.finalist, training.images, final.seed) == identity:
            finish_curve_run(run, training)


def _numbers(final: FinalRecord) -> dict[str, float]:
    # As for a trial, `score` is the best of the epochs' `val_score`.
    scores = {"score": final.val_score, "test_score": final.test_score}
    costs = {"seconds": final.seconds, "trainable_parameters": final.trainable_parameters}
    return {**final.measured, **costs, **scores, **test_numbers(final)}
