"""The trainings of a data-size curve: every strategy's finalist on parts of the training images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ...objectives.data import take_subset
from ...objectives.devices import free_memory
from ...objectives.errors import DeviceLostError, InvalidInputError, ObjectiveError, TrainingFailedError
from ...objectives.finetune import NO_STAGES
from ...storage.workspace import Workspace
from ..analysis import CurveRecord
from ..limits import number_faults
from ..records import STRATEGY
from ..slots import ProcessResources, Resources, check_resources
from ..study import (
    Finalist,
    Observer,
    Study,
    StudyFacts,
    choose_finalists,
    list_candidates,
    prepare_resume,
    restore_config,
)
from ..tracking import curve_key, curve_name, finish_curve_run, strategy_key
from .finals import evaluate_on_test
from .frozen_libraries import libraries_frozen
from .held_study import hold_study, parent_run
from .logged_training import TrainingLog, logged_training
from .run import SearchInterrupted, request_run, rerun_finals
from .session import WorkerSession, open_session

DEFAULT_SHARES = ("1/8", "1/4", "1/2")
# Parameters that count epochs, and the maximum number of epochs of a training.
_IN_EPOCHS = ("epochs", "probe_epochs", "unfreeze_every", "patience")
_MAX_EPOCHS = 1000


@dataclass(frozen=True)
class CurveTraining:
    """A finalist to train on a number of images."""

    finalist: Finalist
    images: int

    @property
    def identity(self) -> tuple[str, int, int]:
        return self.finalist.identity, self.images, self.finalist.seed

    @property
    def key(self) -> str:
        return curve_key(*self.identity)


def choose_sizes(wanted: Sequence[str], facts: StudyFacts) -> list[int]:
    """Numbers of training images, ascending; all of them is not among these, for the finals have that.

    Args:
        wanted: Numbers such as ``100``, and shares of the training images such as ``1/8`` or ``0.25``; without any,
            the usual ones that leave an image of each class.
        facts: Of the study.

    Raises:
        InvalidInputError: They cannot be read or there are not so many images; all faults at once.
    """
    every, classes = facts.counts["train"], len(facts.classes)
    sizes, faults = set[int](), list[str]()
    for text in wanted or DEFAULT_SHARES:
        size = _read_size(text, every)
        if size is None:
            faults.append(
                f"--sizes {text!r} is not a size. Give numbers of images or shares: --sizes 100,200 or 1/4,0.5"
            )
        elif size > every:
            faults.append(f"--sizes {text}: {size:,} images are more than the {every:,} training images. Give fewer.")
        elif size < classes and wanted:
            faults.append(
                f"--sizes {text} is below one image for each of the {classes} classes. Give --sizes {classes} or more."
            )
        elif size >= classes:
            sizes.add(size)
    sizes.discard(every)
    if not sizes and not faults:
        faults.append(
            f"No size is left between {classes} images, one of each class, and all {every:,} training images, which "
            "the finals are trained on. Name one: frostline curve STUDY --sizes IMAGES"
        )
    if faults:
        raise InvalidInputError(faults)
    return sorted(sizes)


def _read_size(text: str, every: int) -> int | None:
    """Images; what has a point or a stroke is a share of all."""
    try:
        number = Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
    size = round(number * every) if set("./") & set(text) else int(number)
    return size if number > 0 else None


def run_curve(
    name: str,
    workspace: Workspace | None = None,
    observer: Observer | None = None,
    *,
    sizes: Sequence[str] = (),
    seeds: int | None = None,
    resources: Resources | None = None,
) -> Study:
    """Train every strategy's finalist on subsets of the training images, and test it; what was done is kept.

    With all training images it is the finals, which are run first where they are missing.

    Args:
        name: Of the study.
        workspace: Where it is kept.
        observer: Told what happens.
        sizes: See :func:`choose_sizes`.
        seeds: Trainings of each finalist at each size; as many as it has finals if None.
        resources: What to train on; the curve itself is trained by one process.

    Raises:
        InvalidInputError: No such study, no trial of it is complete, or sizes or seeds make no sense.
        TrainingFailedError: No training of the curve succeeded.
    """
    place, watch, used = workspace or Workspace.locate(), observer or Observer(), resources or Resources()
    check_resources(used, place)
    study = Study.load(name, place)
    chosen = _check(study, sizes, seeds)
    request_run(study)
    if not study.decided():
        study = rerun_finals(name, place, watch, resources=used)
    trained = study.curve.trained()
    left = [each for each in plan_curve(study, chosen, seeds) if each.identity not in trained]
    if left:
        with _interruptible(study, watch):
            _train(study, left, used, watch)
    return study


def _check(study: Study, sizes: Sequence[str], seeds: int | None) -> list[int]:
    faults: list[str] = []
    if not study.candidates(study.trials()):
        name = f"{study.settings.name}{study.workspace.option}"
        faults.append(f"No trial of study {study.settings.name!r} is complete. Resume it: frostline resume {name}")
    faults += number_faults({"--seeds": seeds})
    chosen: list[int] = []
    try:
        chosen = choose_sizes(sizes, study.facts)
    except InvalidInputError as error:
        faults += error.faults
    if faults:
        raise InvalidInputError(faults)
    return chosen


def plan_curve(study: Study, sizes: Sequence[int], seeds: int | None = None) -> list[CurveTraining]:
    """Every training of a curve, the finals aside: the quick ones first."""
    settings, trials, val_images = study.settings, study.trials(), study.facts.val_images
    numbers_chosen = {
        trial.number for trial in choose_finalists(settings, trials, val_images, study.final_scores()).values()
    }
    if seeds is None:
        recorded = set(study.finals.identities())
        every = [each for each in study.candidates(trials) if (each.identity, each.seed) in recorded]
    else:
        every = list_candidates(settings.model_copy(update={"finals_seeds": seeds}), trials, val_images)
    finalists = [each for each in every if each.trial.number in numbers_chosen]
    return [CurveTraining(finalist, images) for images in sorted(sizes) for finalist in finalists]


def with_equal_steps(parameters: Mapping[str, Any], images: int, every: int) -> dict[str, Any]:
    """A configuration that trains on fewer images for as many steps: with the epochs of all, few images would mean
    few steps, and what has most to learn would fall behind for that alone.

    Args:
        parameters: Active ones of a trial, by dotted name.
        images: Of the subset.
        every: Of the whole training split.
    """
    # One factor for all, so that phases keep their shares.
    longer = min(every / images, _MAX_EPOCHS / parameters["epochs"]) if "epochs" in parameters else 1.0
    return {name: round(value * longer) if name in _IN_EPOCHS else value for name, value in parameters.items()}


@contextmanager
def _interruptible(study: Study, observer: Observer) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise SearchInterrupted(
            "Stopped. Finished trainings are kept; resume with the same command: "
            f"frostline curve {study.settings.name}{study.workspace.option}"
        ) from None
    finally:
        observer.close()


def _train(study: Study, left: Sequence[CurveTraining], resources: Resources, observer: Observer) -> None:
    prepared = prepare_resume(study.settings.name, study.workspace, observer, curve=True)
    own = ProcessResources.all_of(resources)
    with hold_study(study, observer) as tracker, parent_run(tracker):
        opened = open_session(study, prepared.dataset, prepared.backbones, own, tracker, observer)
        with opened as session, libraries_frozen():
            ended = [_run(session, training, f"{place}/{len(left)}") for place, training in enumerate(left, 1)]
        curve = study.results().curve
        if curve is not None:
            said = " ".join(each.sentence() for each in (*curve.crossovers, *curve.projections))
            tracker.parent_run.log_summary({}, {"frostline.curve": said})
    if not any(ended):
        raise TrainingFailedError(f"No training of the curve of study {study.settings.name!r} succeeded.")


def _run(session: WorkerSession, training: CurveTraining, place: str) -> bool:
    """Run one training; return False if it fails, for example with too few images."""
    finalist, note = training.finalist, session.observer.note
    what = f"curve {place}: {finalist.strategy} on {training.images:,} images, seed {finalist.seed}"
    session.stopper.check()
    try:
        score = _train_and_test(session, training)
    except DeviceLostError:
        raise
    except ObjectiveError as error:
        note(f"{what} failed: {error}")
        return False
    note(f"{what}: test {100 * score:.1f} %")
    free_memory(session.task.device)
    return True


def _train_and_test(session: WorkerSession, training: CurveTraining) -> float:
    """Train on part of the images and test, as in :mod:`.finals`; return the test score."""
    finalist, images = training.finalist, training.images
    name = curve_name(finalist.strategy, images, finalist.seed)
    parameters = with_equal_steps(finalist.trial.config, images, len(session.task.train))
    run = session.tracker.run(
        training.key,
        name,
        {**parameters, "seed": finalist.seed, "trial": finalist.trial.number, "train_images": images},
        {STRATEGY: finalist.strategy, "kind": "curve"},
        parent=strategy_key(finalist.strategy),
    )
    log = TrainingLog(run, session.observer, name)
    whole = session.final_task(finalist.place)
    subset = take_subset(whole.train, images, session.study.settings.seed)
    task = replace(whole, train=subset, stages=NO_STAGES)
    checkpoints = session.own_checkpoints(training.key)
    try:
        config = restore_config(parameters)
        result = logged_training(
            log, config, task, seed=finalist.seed, checkpoints=checkpoints, retries=session.retries
        )
    except DeviceLostError:
        raise
    except ObjectiveError:
        run.finish("FAILED")
        raise
    final = evaluate_on_test(session, finalist, result).final
    # What the database does not keep is told first: whoever finds the training recorded cannot tell it.
    log.finished(result)
    session.study.curve.add(*training.identity, final.to_row(), final.labels, final.probabilities)
    checkpoints.remove()
    finish_curve_run(run, CurveRecord(images, final))
    return final.test_score
