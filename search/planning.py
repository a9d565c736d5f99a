"""From what a user asks to a study that can run: everything is checked before anything is made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..objectives.backbones import BackboneSpec, check_backbone
from ..objectives.cache_policy import parse_size
from ..objectives.config import create_config
from ..objectives.dataset import ImageDataset
from ..objectives.errors import InvalidInputError
from ..objectives.finetune import BackbonePool, check_trainable
from ..objectives.metrics import OBJECTIVES, check_metric, default_metric
from ..objectives.model_sources import preprocessing_for
from ..objectives.preprocessing import DEFAULT_SIZE, Preprocessing
from ..objectives.sources import Listing, list_source
from ..objectives.splits import resolve_splits
from ..storage.artifacts import artifacts_fault
from ..storage.locks import exclusive
from ..storage.tracking import uri_fault
from ..storage.workspace import Workspace
from .default_space import COMPETING, default_tables
from .drift import refuse_drift
from .gathering import decode, gather_facts
from .plugins import load_plugins
from .progress import Observer
from .settings import StudySettings, default_population
from .slots import Resources
from .space import Space
from .space_file import read_space
from .space_parsing import create_space, resolve_space
from .study import Study, study_names
from .study_file import StudyFile, read_study

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Request:
    """What a user asks of a search; None means: choose for me.

    Attributes:
        data: A folder, ``sklearn:digits...`` or ``torchvision:NAME``.
        backbone: Name of a torchvision classification model, ``timm:NAME`` or ``module:function``.
        weights: A published name, a file, or ``none``.
        image_size: Pixels.
        trials: Budget.
        name: Of the study.
        strategies: Which compete; if none are named, all of the space file, or the usual five and the plugins'.
        space: A space file.
        metric: Name.
        seed: Of everything random.
        finals_seeds: Trainings of each finalist.
        population: How many head-only trials train together, at most; 0 means: choose for me.
        device: Where to train.
        cache_budget: Size of the feature cache, such as ``4GB``; ``auto``, or ``0`` for none.
        tracking_uri: Of MLflow.
        workers: Processes that train; None for one a GPU, or one.
        slots_per_gpu: Processes that share a GPU, where their number is not given.
        engine: ``local``, or ``ray`` for workers on a Ray cluster.
        address: Of the Ray cluster.
        retries: How often a training is begun again that something unexpected ended.
        plugins: Modules that register strategies; these compete too.
        file: The study file it was read from, whose space is searched unless ``space`` is given.
    """

    data: str
    backbone: str = "mobilenet_v3_small"
    weights: str = "DEFAULT"
    image_size: int | None = None
    trials: int = 30
    name: str | None = None
    strategies: tuple[str, ...] = ()
    space: Path | None = None
    metric: str | None = None
    seed: int = 0
    finals_seeds: int = 3
    population: int = 0
    device: str = "auto"
    cache_budget: str = "auto"
    tracking_uri: str | None = None
    workers: int | None = None
    slots_per_gpu: int = 1
    engine: str = "local"
    address: str | None = None
    retries: int = 1
    plugins: tuple[str, ...] = ()
    file: StudyFile | None = None

    @classmethod
    def read(cls, path: str | Path, **given: Any) -> Request:
        """A request from a study file; fields that are given come before the file's.

        Raises:
            InvalidInputError: It cannot be read or is no study file; what else is wrong is told with the rest.
        """
        file = read_study(Path(path))
        return cls(**{"data": "", **file.options, **given}, file=file)

    @property
    def resources(self) -> Resources:
        """What the study gets."""
        shared = {field.name: getattr(self, field.name) for field in fields(Resources)}
        return Resources(**shared)


@dataclass(frozen=True)
class Prepared:
    """A study with what it takes to work on it."""

    study: Study
    dataset: ImageDataset
    backbones: BackbonePool


def prepare_search(request: Request, workspace: Workspace, observer: Observer) -> Prepared:
    """Check a request, decode the data and make the study, or open the one that asks the same.

    Raises:
        InvalidInputError: All faults at once; nothing was made.
    """
    listing, written = _check(request, workspace)
    preprocessing = preprocessing_for(request.backbone, request.weights, request.image_size)
    backbones = BackbonePool(BackboneSpec(request.backbone, request.weights, preprocessing.image_size))
    settings = _settings(request, listing, written, len(backbones.pretrained.units), preprocessing)
    _check_trainable(settings, backbones)
    existing = _existing(settings, workspace)
    dataset = decode(settings, preprocessing, workspace, observer)
    facts = gather_facts(settings, dataset, backbones)
    if existing:
        trains = not existing.results().complete
        refuse_drift(existing.settings, existing.facts, dataset, backbones, trains=trains, option=workspace.option)
        with exclusive(workspace, settings.name):
            existing.ready()
    for note in facts.notes:
        observer.note(note)
    study = existing or Study.create(settings, facts, workspace, request.tracking_uri)
    return Prepared(study, dataset, backbones)


def _check(request: Request, workspace: Workspace) -> tuple[Listing, Space | None]:
    """The cheap checks, all of them, before anything is built, decoded or made."""
    faults: list[str] = list(request.file.faults) if request.file else []
    with _collecting(faults):
        _check_numbers(request)
    with _collecting(faults):
        check_backbone(BackboneSpec(request.backbone, request.weights, request.image_size or DEFAULT_SIZE))
    with _collecting(faults):
        check_metric(request.metric or OBJECTIVES[0])
    with _collecting(faults):
        request.resources.check(workspace)
    with _collecting(faults):
        parse_size(request.cache_budget)
    space: Space | None = None
    with _collecting(faults):
        load_plugins(request.plugins)
        space = _written(request)
        chosen = (space or create_space(default_tables())).only(_chosen(request, space))
        # Without a space the other half is checked all the same.
        faults += budget_faults(request.trials, len(chosen.strategies)) if request.trials >= 1 else []
    listing: Listing | None = None
    with _collecting(faults):
        listing = _list(request.data, workspace)
    if request.tracking_uri and (fault := uri_fault(request.tracking_uri)):
        faults.append(fault)
    if workspace.artifacts_url and (fault := artifacts_fault(workspace.artifacts_url)):
        faults.append(fault)
    if faults or listing is None:
        raise InvalidInputError(faults)
    return listing, space


def _chosen(request: Request, written: Space | None) -> tuple[str, ...]:
    """The strategies that compete: those named, else all of a file's space, else the usual ones and the plugins'."""
    return request.strategies or (() if written else (*COMPETING, *load_plugins(request.plugins)))


def _written(request: Request) -> Space | None:
    """The space of the request's files; None for the default."""
    if request.space is not None:
        return read_space(request.space)
    return request.file.space() if request.file else None


def _list(data: str, workspace: Workspace) -> Listing:
    if not data:
        raise InvalidInputError(
            'No data are named. In a study file, add data = "FOLDER" to [study], or type --data FOLDER.'
        )
    return list_source(data, download_dir=workspace.images / "downloads")


@contextmanager
def _collecting(faults: list[str]) -> Iterator[None]:
    try:
        yield
    except InvalidInputError as error:
        faults += error.faults


def name_fault(option: str, name: str) -> list[str]:
    """What is wrong with a study's name."""
    rule = "use letters, digits, '.', '_' and '-', at most 100, a letter or digit first."
    return [] if _NAME.fullmatch(name) else [f"{option} {name!r}: {rule}"]


def _check_numbers(request: Request) -> None:
    limits = {
        **{"--trials": (request.trials, 1), "--seeds": (request.finals_seeds, 1), "--seed": (request.seed, 0)},
        **{"--workers": (request.workers or 1, 1), "--slots-per-gpu": (request.slots_per_gpu, 1)},
        **{"--population": (request.population, 0), "--retries": (request.retries, 0)},
    }
    faults = [f"{name} must be at least {low}, got {value}." for name, (value, low) in limits.items() if value < low]
    if request.name is not None:
        faults += name_fault("--name", request.name)
    if faults:
        raise InvalidInputError(faults)


def budget_faults(trials: int, strategies: int) -> list[str]:
    """What is wrong with a budget for so many strategies."""
    if trials < 1:
        return [f"--trials must be at least 1, got {trials}."]
    if trials >= strategies:
        return []
    return [
        f"--trials {trials} is too few for {strategies} strategies, which get one each at least. "
        f"Give --trials {strategies} or more, or name fewer with --strategy."
    ]


def _settings(
    request: Request, listing: Listing, written: Space | None, units: int, preprocessing: Preprocessing
) -> StudySettings:
    counts, device = _train_counts(listing, request.seed), request.resources.device_type
    space = written or create_space(default_tables(sum(counts)))
    return StudySettings(
        name=request.name or default_name(listing.name, request.file.path.stem if request.file else request.backbone),
        data=_absolute(request.data),
        backbone=request.backbone,
        weights=_absolute(request.weights),
        image_size=preprocessing.image_size,
        trials=request.trials,
        metric=request.metric or default_metric(counts),
        seed=request.seed,
        finals_seeds=request.finals_seeds,
        population=request.population or default_population(request.trials, sum(counts), device),
        space=resolve_space(space.only(_chosen(request, written)), units),
        plugins=request.plugins,
    )


def _check_trainable(settings: StudySettings, backbones: BackbonePool) -> None:
    faults: list[str] = []
    for strategy in settings.strategies:
        try:
            check_trainable(create_config(settings.space.default(strategy)), backbones)
        except InvalidInputError as error:
            faults += [f"{strategy}: {fault}. Leave it out, or take another backbone." for fault in error.faults]
    if faults:
        raise InvalidInputError(faults)


def _train_counts(listing: Listing, seed: int) -> list[int]:
    """Training images of each class."""
    labels = np.array([item.label for item in listing.items])
    train = resolve_splits([item.split for item in listing.items], labels, seed)["train"]
    return np.bincount(labels[train], minlength=len(listing.classes)).tolist()


def train_images(data: str, workspace: Workspace) -> int:
    """Size of a dataset's training split."""
    return sum(_train_counts(_list(data, workspace), seed=0))


def default_name(data: str, backbone: str) -> str:
    """A study's name from its data and backbone."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", f"{data}-{backbone}").strip("-._")[:100]


def _absolute(text: str) -> str:
    """Paths as they hold from any folder; names as they are."""
    path = Path(text).expanduser()
    return str(path.resolve()) if path.exists() else text


def _existing(settings: StudySettings, workspace: Workspace) -> Study | None:
    """The study of this name if it asks the same.

    Raises:
        InvalidInputError: It asks something else; says what.
    """
    if settings.name not in study_names(workspace):
        return None
    study = Study.load(settings.name, workspace)
    differences = study.settings.differences(settings)
    if differences:
        more = f" --trials {settings.trials}" if settings.trials > study.settings.trials else ""
        raise InvalidInputError(
            [
                f"Study {settings.name!r} exists with other settings:",
                *[f"  {name}: {old} there, {new} here" for name, (old, new) in differences.items()],
                f"Go on with it: frostline resume {settings.name}{more}{workspace.option}. "
                "Or begin another: add --name ANOTHER",
            ]
        )
    if workspace.artifacts_url is None:
        study.require_artifacts()
    return study
