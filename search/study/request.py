"""The request of a search, made from the command line, a study file or Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...objectives.data import ListingOptions
from ...objectives.errors import InvalidInputError
from ...objectives.precision import AUTO
from ..slots import Resources
from .given_values import check_given
from .settings import CANDIDATES, TRIALS

if TYPE_CHECKING:
    from .study_file import StudyFile


@dataclass(frozen=True)
class Request:
    """The request of a search; None stands for the default.

    Attributes:
        data: Folder of class folders, CSV or Parquet file, saved dataset of ``datasets``, ``sklearn:digits...`` or
            ``torchvision:NAME``.
        backbone: Name of a torchvision classification model, ``timm:NAME`` or ``module:function``.
        weights: Name of published weights, path of a file, or ``none``.
        image_size: Image side in pixels.
        trials: Number of trials; None for 30, or for no limit if there is a budget.
        budget: Device seconds that the trials of all workers may use together, such as ``20m`` or ``1h30m``.
        stop_when_sure: Probability above 0.5 and below 1, that no other strategy will win by more than
            ``indifference``, with which the search ends early; None to run all trials.
        name: Name of the study.
        strategies: Names of the competing strategies; by default all of the space file, or the five default ones and
            the plugins'.
        space: Path of a space file, or its tables.
        metric: Name of the metric, or ``module:function`` of one.
        sampler: ``module:object`` of an Optuna sampler, in place of the built-in one.
        head: ``module:function`` of a head, in place of the heads of the space.
        seed: Seed of splits, heads, data order and sampling.
        folds: Number of folds of the images outside the test split; None for one validation split.
        finals_seeds: Largest number of trainings of each finalist; None for 8, as long as the finals cost no more than
            the search.
        candidates: Number of configurations of each strategy that its finalist is chosen from.
        racing: Whether the finals race; otherwise every finalist is trained with all seeds.
        indifference: Difference of score that does not matter, in points.
        population: Maximum number of head-only trials that train together; 0 for the default.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the faster one of each part.
        device: Device on which to train.
        cache_budget: Size of the feature cache, such as ``4GB``; ``auto``, or ``0`` for none.
        tracking_uri: URI of MLflow.
        workers: Number of training processes; None for one per GPU, or one.
        slots_per_gpu: Number of processes per GPU if ``workers`` is None.
        engine: ``local``, or ``ray`` for workers on a Ray cluster.
        address: Address of the Ray cluster.
        retries: Number of retries of a training after an unexpected error.
        plugins: Names of modules that register strategies; these compete too.
        listing: What the data do not say of themselves: columns of a table, its image root, groups, nested classes.
        audit: Whether to look for copies and label errors in the data before the first trial.
        prior: Earlier studies from whose best configurations to start: ``workspace`` for the finished ones there, or
            a file of ``frostline portfolio``; ``none``, or None, for no start but the defaults.
        file: Study file of the request, whose space is searched unless ``space`` is given.
    """

    data: str
    backbone: str = "mobilenet_v3_small"
    weights: str = "DEFAULT"
    image_size: int | None = None
    trials: int | None = None
    budget: str | None = None
    stop_when_sure: float | None = None
    name: str | None = None
    strategies: tuple[str, ...] = ()
    space: Path | Mapping[str, Any] | None = None
    metric: str | None = None
    sampler: str = ""
    head: str = ""
    seed: int = 0
    folds: int | None = None
    finals_seeds: int | None = None
    candidates: int = CANDIDATES
    racing: bool = True
    indifference: float = 1.0
    population: int = 0
    precision: str = AUTO
    device: str = "auto"
    cache_budget: str = "auto"
    tracking_uri: str | None = None
    workers: int | None = None
    slots_per_gpu: int = 1
    engine: str = "local"
    address: str | None = None
    retries: int = 1
    plugins: tuple[str, ...] = ()
    listing: ListingOptions = field(default_factory=ListingOptions)
    audit: bool = True
    prior: str | None = None
    file: StudyFile | None = None

    @classmethod
    def read(cls, path: str | Path, listing: Mapping[str, Any] | None = None, **given: Any) -> Request:
        """Read a request from a study file.

        Args:
            path: Path of the file.
            listing: Fields of its listing options that override the file.
            given: Other fields of the request that override the file.

        Raises:
            InvalidInputError: The file cannot be read or is not a study file; other faults are reported by the checks.
        """
        from .study_file import read_study

        file = read_study(Path(path))
        options = ListingOptions(**{**file.listing, **(listing or {})})
        return cls(**{"data": "", "listing": options, **file.options, **given}, file=file)

    @classmethod
    def create(cls, source: str, **given: Any) -> Request:
        """Create a request from the values that a program gives.

        Args:
            source: Dataset, or path of a study file.
            given: Fields of the request, and of its listing options; those given override the study file.

        Raises:
            InvalidInputError: A name is unknown or a value has the wrong type; the message names all. Other faults are
                reported by the checks.
        """
        from .study_file import is_study_file

        of_listing = {each.name for each in fields(ListingOptions)}
        listing = {name: value for name, value in given.items() if name in of_listing}
        given = {name: value for name, value in given.items() if name not in of_listing}
        check_given(listing, ListingOptions)
        check_given(given, cls, without=("file", "listing"))
        if is_study_file(source):
            return cls.read(source, listing, **given)
        if "data" in given:
            raise InvalidInputError(
                f"data replaces the dataset of a study file, and {source!r} is not a study file: leave out one of them."
            )
        return cls(data=source, listing=ListingOptions(**listing), **given)

    @property
    def planned_trials(self) -> int | None:
        """Return the number of trials; None if only the budget limits it."""
        return TRIALS if self.trials is None and self.budget is None else self.trials

    @property
    def resources(self) -> Resources:
        """Return the resources of the study."""
        shared = {field.name: getattr(self, field.name) for field in fields(Resources)}
        return Resources(**shared)
