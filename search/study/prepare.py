"""The way from a request to a study that can run; all checks come before anything is created."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ...objectives.backbones import Backbone, preprocessing_for
from ...objectives.config import BackboneSpec, create_config
from ...objectives.data import ImageDataset, Listing, decode_dataset
from ...objectives.errors import InvalidInputError
from ...objectives.finetune import check_trainable
from ...objectives.metrics import default_metric
from ...objectives.networks import BackbonePool
from ...objectives.precision import PrecisionChoice
from ...objectives.preprocessing import Preprocessing
from ...objectives.strategies import plan_trial
from ...storage.locks import exclusive
from ...storage.tracking import name_in_use
from ...storage.workspace import Workspace
from ..durations import write_duration
from ..slots import create_engine
from ..space import Space, create_space, default_tables, resolve_space, with_head
from .checks import budget_of, check_request, chosen_strategies, train_counts
from .differences import told_differences
from .facts import StudyFacts
from .fingerprints import code_fingerprints, require_unchanged
from .forecast import fitted_model, forecast_search, require_budget
from .observer import Observer
from .precision import study_precision
from .prior import located_prior, with_starts
from .request import Request
from .settings import SEEDS, TRIALS, StudySettings, default_population
from .speed import measure_speed
from .starts import starts_sentence
from .studies import study_names
from .study import Study
from .user_objects import try_heads, try_sampler

# From so many on, an image is at most a point of a score.
_MANY_VAL_IMAGES = 100


@dataclass(frozen=True)
class Prepared:
    """A study with its dataset and backbones.

    Attributes:
        study: Study.
        dataset: Dataset with a sealed test split.
        backbones: Pool of the study's backbone.
    """

    study: Study
    dataset: ImageDataset
    backbones: BackbonePool


def prepare_search(request: Request, workspace: Workspace, observer: Observer) -> Prepared:
    """Check a request, decode the data, and create the study or open the one with the same settings.

    Raises:
        InvalidInputError: The request has faults, or the study of this name has other settings; nothing was created.
    """
    listing, written = check_request(request, workspace)
    preprocessing, backbones = network_of(request)
    settings = settings_of(request, listing, written, backbones.pretrained, preprocessing)
    check_strategies(settings, backbones)
    try_sampler(settings)
    try_heads(settings, backbones, len(listing.classes))
    existing = existing_study(request, settings, workspace)
    if existing is None:
        require_free_name(request.tracking_uri, settings.name, "--name")
    dataset = decode(listing, settings, preprocessing, workspace, observer)
    precision = (
        existing.facts.precision
        if existing
        else study_precision(settings.precision, backbones, request.resources, workspace)
    )
    facts = gather_facts(settings, dataset, backbones, precision)
    probe = None
    if existing is None and settings.budget is not None:
        assert precision is not None
        probe = measure_speed(
            settings, backbones, preprocessing, request.resources, len(facts.classes), precision.precision
        )
        model = fitted_model(facts, probe, [])
        require_budget(settings, len(facts.units), model)
        observer.note(forecast_search(settings, len(facts.units), model).sentence)
    if existing:
        trains = not existing.complete()
        require_unchanged(existing.settings, existing.facts, dataset, backbones, trains=trains, option=workspace.option)
        with exclusive(workspace, settings.name):
            existing.ready()
    for note in facts.notes:
        observer.note(note)
    study = existing or Study.create(
        _started(settings, facts, workspace, observer), facts, workspace, request.tracking_uri
    )
    if probe is not None:
        study.diagnoses.keep_speed(probe)
    return Prepared(study, dataset, backbones)


def _started(settings: StudySettings, facts: StudyFacts, workspace: Workspace, observer: Observer) -> StudySettings:
    """Return the settings of a new study with what it takes over from earlier ones; says what."""
    counts = {"images": facts.counts["train"], "classes": len(facts.classes), "units": len(facts.units)}
    settings, notes = with_starts(settings, workspace, **counts, fingerprint=facts.fingerprint)
    for note in (*notes, starts_sentence(settings.starts)):
        if note:
            observer.note(note)
    return settings


def network_of(request: Request) -> tuple[Preprocessing, BackbonePool]:
    """Return the preprocessing and the backbone of a checked request.

    Raises:
        InvalidInputError: The backbone cannot take its images.
    """
    channels = request.listing.channels
    preprocessing = preprocessing_for(request.backbone, request.weights, request.image_size, channels)
    spec = BackboneSpec(request.backbone, request.weights, preprocessing.image_size, channels)
    return preprocessing, BackbonePool(spec)


def require_free_name(tracking_uri: str | None, name: str, option: str) -> None:
    """Check that nothing in a shared MLflow has the name of a new study, as far as it answers.

    Raises:
        InvalidInputError: An experiment or a registered model has the name.
    """
    if tracking_uri and (found := name_in_use(tracking_uri, name)):
        raise InvalidInputError(f"{found}. Give this study a name of its own: add {option} ANOTHER")


def decode(
    listing: Listing, settings: StudySettings, preprocessing: Preprocessing, workspace: Workspace, observer: Observer
) -> ImageDataset:
    """Decode the images of a study."""
    dataset = decode_dataset(
        listing,
        preprocessing,
        cache_dir=workspace.images,
        seed=settings.seed,
        on_progress=observer.decoding,
        folds=settings.folds,
    )
    for file, reason in dataset.skipped.items():
        observer.note(f"left out {file}: {reason}")
    for note in dataset.notes:
        observer.note(note)
    return dataset


def gather_facts(
    settings: StudySettings, dataset: ImageDataset, backbones: BackbonePool, precision: PrecisionChoice | None
) -> StudyFacts:
    """Return the facts to record when a study starts."""
    backbone = backbones.pretrained
    depths = range(len(backbone.units) + 1)
    notes = [backbone.weights_report.warning] if backbone.weights_report.warning else []
    notes += [f"{backbone.name}: {warning}" for warning in backbone.notes.warnings]
    notes += [f"the first layer is {backbones.first_layer}"] if backbones.first_layer else []
    if backbones.spec.weights == "none":
        notes.append("weights are none: every strategy starts from random weights, so none benefits from pretraining")
    counts = {split: sum(classes.values()) for split, classes in dataset.counts.items()}
    if not dataset.fold_sizes and counts["val"] < _MANY_VAL_IMAGES:
        notes.append(few_images_sentence(counts))
    return StudyFacts(
        classes=dataset.classes,
        counts=counts,
        fingerprint=dataset.fingerprint,
        skipped=tuple(dataset.skipped.items()),
        units=tuple(unit.name for unit in backbone.units),
        frozen_flops=tuple(backbone.frozen_share(depth)[1] for depth in depths),
        notes=tuple(notes),
        class_counts=dataset.counts,
        weights=backbones.fingerprint,
        code=code_fingerprints(settings),
        prepared=dataset.preprocessing.sentence,
        data_notes=dataset.notes,
        pixel_scale=dataset.scale.known(),
        splits=dataset.split_fingerprint,
        precision=precision,
        folds=dataset.fold_sizes,
        first_layer=backbones.first_layer,
    )


def few_images_sentence(counts: Mapping[str, int]) -> str:
    """Return what few validation images mean for the scores of trials, and what helps.

    >>> from frostline.search.study.prepare import few_images_sentence
    >>> few_images_sentence({"train": 240, "val": 40, "test": 120}).partition(": ")[0]
    '40 validation images are few'
    """
    val, every = counts["val"], counts["train"] + counts["val"]
    return (
        f"{val} validation images are few: one is {100 / val:.1f} points of a trial's score, and the best score "
        f"is partly luck. --folds 5 validates each trial on all {every}, in five trainings"
    )


def settings_of(
    request: Request, listing: Listing, written: Space | None, backbone: Backbone, preprocessing: Preprocessing
) -> StudySettings:
    """Return the settings of a checked request.

    Args:
        request: Request of the search.
        listing: Listing of its images.
        written: Space of its files; None for the default space.
        backbone: Backbone.
        preprocessing: Preprocessing of the images.
    """
    counts, device = train_counts(listing, request.seed, request.folds), create_engine(request.resources).device_type
    space = (written or create_space(default_tables(sum(counts)))).only(chosen_strategies(request, written))
    planned = request.planned_trials or TRIALS
    return StudySettings(
        name=request.name or default_name(listing.name, request.file.path.stem if request.file else request.backbone),
        data=_absolute(request.data),
        backbone=request.backbone,
        weights=_absolute(request.weights),
        image_size=preprocessing.image_size,
        trials=request.planned_trials,
        budget=budget_of(request),
        stop_when_sure=request.stop_when_sure,
        metric=request.metric or default_metric(counts),
        sampler=request.sampler,
        seed=request.seed,
        folds=request.folds,
        finals_seeds=request.finals_seeds or SEEDS,
        finals_limited=request.finals_seeds is None,
        candidates=request.candidates,
        racing=request.racing,
        indifference=request.indifference,
        population=1 if request.folds else request.population or default_population(planned, sum(counts), device),
        space=resolve_space(
            with_head(space, request.head) if request.head else space,
            len(backbone.units),
            embeds_patches=backbone.embeds_patches,
        ),
        plugins=request.plugins,
        precision=request.precision,
        listing=request.listing.located(request.data),
        prior=located_prior(request.prior),
    )


def check_strategies(settings: StudySettings, backbones: BackbonePool) -> None:
    """Check that every strategy finds something to train in the backbone, and every pooling something to pool.

    Raises:
        InvalidInputError: Some do not; the message names them.
    """
    faults, units = list[str](), len(backbones.pretrained.units)
    for strategy in settings.strategies:
        default, pooling = settings.space.default(strategy), settings.space.strategies[strategy].get("head.pooling")
        tried = {"head.pooling": "attention"} if pooling and pooling.contains("attention") else {}
        for values in (default, *([settings.space.default_with(strategy, tried)] if tried else [])):
            try:
                check_trainable(plan_trial(create_config(values), units).config, backbones)
            except InvalidInputError as error:
                faults += [f"{strategy}: {fault}. Leave it out, or take another backbone." for fault in error.faults]
    faults = list(dict.fromkeys(faults))
    if faults:
        raise InvalidInputError(faults)


def default_name(data: str, backbone: str) -> str:
    """Return a study's default name.

    Examples:
        >>> from frostline.search.study.prepare import default_name
        >>> default_name("photos", "timm:vit_tiny")
        'photos-timm-vit_tiny'"""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{data}-{backbone}").strip("-._")[:100]


def _absolute(text: str) -> str:
    """Return an existing path as absolute; other text unchanged."""
    path = os.path.expanduser(text)
    return os.path.realpath(path) if os.path.exists(path) else text


def existing_study(request: Request, settings: StudySettings, workspace: Workspace) -> Study | None:
    """Return the study of this name; None if there is none.

    Args:
        request: What was asked for.
        settings: The same with what was left open.
        workspace: Where the study is.

    Raises:
        InvalidInputError: The study has other settings; the message names them.
    """
    if settings.name not in study_names(workspace):
        return None
    study = Study.load(settings.name, workspace)
    if study.settings.differences(settings):
        present = study.settings
        raised = (
            ("--trials", request.trials, settings.trials, present.trials),
            ("--budget", request.budget, settings.budget, present.budget),
            ("--seeds", request.finals_seeds, settings.finals_seeds, present.finals_seeds),
        )
        more = "".join(
            f" {option} {write_duration(new) if option == '--budget' else new}"
            for option, asked, new, old in raised
            if asked is not None and new is not None and old is not None and new > old
        )
        raise InvalidInputError(
            [
                f"Study {settings.name!r} exists with other settings:",
                *told_differences(study.settings, settings),
                f"Resume it: frostline resume {settings.name}{more}{workspace.option}. "
                "Or start another: add --name ANOTHER",
            ]
        )
    if workspace.artifacts_url is None:
        study.require_artifacts()
    return study
