"""A dry run: what a search would do and take, with nothing trained, created or decoded for good."""

from __future__ import annotations

from dataclasses import dataclass

from ...objectives.config import create_config
from ...objectives.data import Listing
from ...objectives.finetune import count_trained
from ...objectives.networks import BackbonePool
from ...objectives.precision import PrecisionChoice
from ...objectives.sizes import parse_size
from ...objectives.strategies import plan_trial
from ...storage.workspace import Workspace
from ..analysis import SecondsModel, peak_memory
from .checks import check_request, split_counts
from .forecast import Forecast, StrategyForecast, forecast_search, require_budget
from .precision import study_precision
from .prepare import check_strategies, existing_study, network_of, settings_of
from .prior import with_starts
from .request import Request
from .settings import StudySettings
from .speed import measure_speed
from .user_objects import try_heads, try_sampler


@dataclass(frozen=True)
class StrategyPlan:
    """What a strategy would train and take.

    Attributes:
        forecast: Seconds and number of its trials.
        trained: Number of parameters that its default configuration trains.
        parameters: Number of parameters of the network.
        memory: Estimated peak memory of its default configuration, bytes.
    """

    forecast: StrategyForecast
    trained: int
    parameters: int
    memory: int

    @property
    def trainable_share(self) -> float:
        """Return the share of the parameters that train, in [0, 1]."""
        return self.trained / self.parameters


@dataclass(frozen=True)
class DryRun:
    """What a search would do and take.

    Attributes:
        settings: Settings of the study.
        images: Numbers of images by split.
        classes: Number of classes.
        device: Type of the device.
        forecast: Seconds and trials of the search.
        strategies: By strategy, in the order of the settings.
        precision: Precision that the search would have.
        exists: Whether there is a study of these settings, which the search would resume.
        notes: What the study would leave out of its prior, a sentence each.
    """

    settings: StudySettings
    images: dict[str, int]
    classes: int
    device: str
    forecast: Forecast
    strategies: tuple[StrategyPlan, ...]
    precision: PrecisionChoice
    exists: bool
    notes: tuple[str, ...] = ()


def dry_run(request: Request, workspace: Workspace) -> DryRun:
    """Return what a search would do and take.

    Raises:
        InvalidInputError: The request has faults; the message names all of them.
    """
    listing, written = check_request(request, workspace)
    preprocessing, backbones = network_of(request)
    units = len(backbones.pretrained.units)
    settings = settings_of(request, listing, written, backbones.pretrained, preprocessing)
    check_strategies(settings, backbones)
    try_sampler(settings)
    try_heads(settings, backbones, len(listing.classes))
    existing = existing_study(request, settings, workspace)
    images, classes = split_counts(listing, settings.seed, settings.folds), len(listing.classes)
    notes: list[str] = []
    if existing is None:
        settings, notes = with_starts(settings, workspace, images=images["train"], classes=classes, units=units)
    else:
        settings = settings.model_copy(update={"starts": existing.settings.starts})
    chosen = study_precision(settings.precision, backbones, request.resources, workspace, keep=False)
    probe = measure_speed(settings, backbones, preprocessing, request.resources, len(listing.classes), chosen.precision)
    caches = parse_size(request.cache_budget) != 0
    model = SecondsModel(probe, images["train"], images["val"], settings.folds or 1, caches=caches)
    require_budget(settings, units, model)
    forecast = forecast_search(settings, units, model)
    plans = tuple(_plan(each, settings, backbones, model, listing) for each in forecast.strategies)
    return DryRun(settings, images, classes, probe.device, forecast, plans, chosen, existing is not None, tuple(notes))


def _plan(
    forecast: StrategyForecast, settings: StudySettings, backbones: BackbonePool, model: SecondsModel, listing: Listing
) -> StrategyPlan:
    planned = plan_trial(create_config(settings.space.default(forecast.strategy)), len(backbones.pretrained.units))
    trained, parameters = count_trained(planned.config, backbones, len(listing.classes))
    return StrategyPlan(forecast, trained, parameters, peak_memory(planned, model, parameters, trained))
