"""The speed of a study's backbone on the device of its trials, measured before the first of them."""

from __future__ import annotations

from ...objectives.config import create_config
from ...objectives.devices import choose_device
from ...objectives.networks import BackbonePool
from ...objectives.preprocessing import Preprocessing
from ...objectives.speed import SpeedProbe
from ...objectives.speed_probe import probe_speed
from ..slots import Resources
from .settings import StudySettings


def measure_speed(
    settings: StudySettings,
    backbones: BackbonePool,
    preprocessing: Preprocessing,
    resources: Resources,
    classes: int,
) -> SpeedProbe:
    """Measure the study's backbone on the device of its trials."""
    # The devices of a cluster's workers may not be there on the machine that starts them.
    device = choose_device("auto" if resources.engine == "ray" else resources.device)
    configs = [create_config(settings.space.default(strategy)) for strategy in settings.strategies]
    augmentations = {
        augmentation: config.model_copy(update={"augmentation": augmentation})
        for config in configs
        for augmentation in ("none", *_augmentations(settings, config.strategy))
    }
    return probe_speed(backbones, preprocessing, augmentations.values(), device, classes=classes)


def _augmentations(settings: StudySettings, strategy: str) -> tuple[str, ...]:
    domain = settings.space.strategies[strategy].get("augmentation")
    return () if domain is None or domain.choices is None else tuple(map(str, domain.choices))
