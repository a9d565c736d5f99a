"""The speed of a study's backbone on the device of its trials, measured before the first of them."""

from __future__ import annotations

import torch

from ...objectives.config import create_config
from ...objectives.devices import choose_device
from ...objectives.networks import BackbonePool
from ...objectives.precision import Precision
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
    precision: Precision,
) -> SpeedProbe:
    """Measure the study's backbone on the device of its trials, in their precision."""
    configs = [create_config(settings.space.default(strategy)) for strategy in settings.strategies]
    augmentations = {
        augmentation: config.model_copy(update={"augmentation": augmentation})
        for config in configs
        for augmentation in ("none", *_augmentations(settings, config.strategy))
    }
    return probe_speed(
        backbones,
        preprocessing,
        augmentations.values(),
        device_of_trials(resources),
        classes=classes,
        precision=precision,
    )


def device_of_trials(resources: Resources) -> torch.device:
    """Return the device of the trials; a cluster's is taken to be what this machine has."""
    # The devices of a cluster's workers may not be there on the machine that starts them.
    return choose_device("auto" if resources.engine == "ray" else resources.device)


def _augmentations(settings: StudySettings, strategy: str) -> tuple[str, ...]:
    domain = settings.space.strategies[strategy].get("augmentation")
    return () if domain is None or domain.choices is None else tuple(map(str, domain.choices))
