"""What a user asks of a search."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..slots.resources import Resources

if TYPE_CHECKING:
    from .study_file import StudyFile


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
        from .study_file import read_study

        file = read_study(Path(path))
        return cls(**{"data": "", **file.options, **given}, file=file)

    @property
    def resources(self) -> Resources:
        """What the study gets."""
        shared = {field.name: getattr(self, field.name) for field in fields(Resources)}
        return Resources(**shared)
