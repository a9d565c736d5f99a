"""The settings of a study: data, backbone, space, metric and budget, stored with the study."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ...objectives.config import BackboneSpec
from ...objectives.data import ListingOptions
from ...objectives.precision import AUTO
from ..analysis import INDIFFERENCE, RaceRules
from ..formats import duration, plural
from ..space import Space
from .starts import Start

# Default of the number of trials.
TRIALS = 30
# Default of the largest number of trainings of a finalist.
SEEDS = 8
# Default of the number of configurations of each strategy that its finalist is chosen from.
CANDIDATES = 3
# Default population of head-only trials, and the largest training split with one.
POPULATION = 8
MAX_POPULATION = 50_000

_NOT_COMPARED = {"population", "earlier_seeds", "finals_limited", "starts"}


class StudySettings(BaseModel):
    """Settings of a study. A request of the same name must agree with them.

    Attributes:
        name: Name of the study, its MLflow experiment and parent run.
        data: Folder of class folders, CSV or Parquet file, saved dataset of ``datasets``, ``sklearn:digits...`` or
            ``torchvision:NAME``.
        backbone: Name of a torchvision classification model, ``timm:NAME`` or ``module:function``.
        weights: Name of published weights, path of a file, or ``none``.
        image_size: Side of the network's square input, in pixels.
        trials: Number of trials that end complete, pruned or failed; None if only the budget limits it.
        budget: Device seconds that the trials of all workers may use together; None for no limit.
        stop_when_sure: Probability that no other strategy will win by more than ``indifference``, with which the search
            ends early; None to run all trials.
        metric: Name of the validation metric, which trials maximize, or ``module:function`` of the user's.
        sampler: ``module:object`` of the user's sampler; empty for the built-in one.
        seed: Seed of splits, data order, heads and sampling.
        folds: Number of folds, on each of which a trial is trained; None for one validation split.
        finals_seeds: Largest number of trainings of each finalist.
        finals_limited: Whether the race ends where the finals would cost more than the search did.
        earlier_seeds: Earlier values of ``finals_seeds``, ascending, with which the race of the finals ended undecided.
        candidates: Number of configurations of each strategy that its finalist is chosen from, see :mod:`.finalists`.
        racing: Whether the finals race; if not, as in older studies, every finalist is trained with all seeds.
        indifference: Difference of score that does not matter, in points (hundredths of the score).
        population: Maximum number of head-only trials that are sampled and trained together.
        space: Search space.
        plugins: Names of modules that register strategies of the space; training processes import them.
        precision: ``auto``, ``float32`` or ``bfloat16``, as it was asked for.
        listing: What the data do not say of themselves; an image root in the table's folder is relative to it.
        prior: Where configurations of earlier studies were taken from, as it was asked for; empty for nowhere.
        starts: What was taken from there when the study was created, see :mod:`.prior`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    data: str
    backbone: str
    weights: str
    image_size: int
    trials: int | None = Field(ge=1)
    budget: float | None = Field(default=None, gt=0)
    stop_when_sure: float | None = Field(default=None, gt=0.5, lt=1)
    metric: str
    sampler: str = ""
    seed: int = Field(ge=0)
    folds: int | None = Field(default=None, ge=2)
    finals_seeds: int = Field(ge=1)
    finals_limited: bool = False
    earlier_seeds: tuple[int, ...] = ()
    candidates: int = Field(default=1, ge=1)
    racing: bool = False
    indifference: float = Field(default=100 * INDIFFERENCE, ge=0, le=100)
    population: int = Field(default=1, ge=1)
    space: Space
    plugins: tuple[str, ...] = ()
    precision: str = AUTO
    listing: ListingOptions = ListingOptions()
    prior: str = ""
    starts: tuple[Start, ...] = ()

    @property
    def spec(self) -> BackboneSpec:
        """Return backbone, weights, image size and channels."""
        return BackboneSpec(self.backbone, self.weights, self.image_size, self.listing.channels)

    @property
    def strategies(self) -> tuple[str, ...]:
        """Return the names of the competing strategies."""
        return tuple(self.space.strategies)

    def first_values(self, strategy: str) -> list[dict[str, Any]]:
        """Return the searched values of a strategy's first trials: its default configuration, then its starts."""
        taken = [dict(start.values) for start in self.starts if start.strategy == strategy]
        return [self.space.searched(strategy, self.space.default(strategy)), *taken]

    @property
    def planned_trials(self) -> int:
        """Return the number of trials that the strategies' minimum numbers are shares of.

        It does not depend on the budget: so trials are sampled alike on fast and slow machines.
        """
        return TRIALS if self.trials is None else self.trials

    @property
    def extent(self) -> str:
        """Return how far the search goes, in words."""
        of = f"{len(self.strategies)} strateg{'ies' if len(self.strategies) > 1 else 'y'}"
        of += f" on {self.folds} folds" if self.folds else ""
        time = None if self.budget is None else f"{duration(self.budget)} of training"
        if self.trials is None:
            of = f"{of}, {time}"
        else:
            of = f"{plural(self.trials, 'trial')} of {of}" + (f" or {time}, whichever ends first" if time else "")
        return of if self.stop_when_sure is None else f"{of}; ended when {100 * self.stop_when_sure:g} % sure"

    @property
    def race_rules(self) -> RaceRules:
        """Return how many seeds the finals have."""
        return RaceRules(self.finals_seeds, self.racing, self.indifference / 100, self.earlier_seeds)

    def differences(self, other: StudySettings) -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ, by dotted name down to single parameters: own value, other value.

        The population is not compared, since it depends on the machine, nor are what led to the number of seeds and
        the starts, since the earlier studies may have changed.
        """
        own, others = (_leaves(each.model_dump(exclude=_NOT_COMPARED)) for each in (self, other))
        names = dict.fromkeys([*own, *others])
        return {name: (own.get(name), others.get(name)) for name in names if own.get(name) != others.get(name)}


def default_population(trials: int, images: int, device: str) -> int:
    """Return the default number of head-only trials that train together.

    Populations pay off on a GPU, where small steps wait for kernel launches. On a CPU they pay off only for heads of
    one structure: in a search over structures, 30 trials took twice as long together (benchmarks/README.md), because
    the first population is not pruned. A population is at most a quarter of the budget, so that later trials learn
    from earlier ones. Long trainings run one at a time, because an interrupted population restarts.

    Args:
        trials: Budget of the study.
        images: Size of the training split.
        device: Type of the device.

    Examples:
        >>> from frostline.search.study.settings import default_population
        >>> default_population(30, 1000, "cuda"), default_population(30, 1000, "cpu")
        (7, 1)
    """
    if device == "cpu" or images > MAX_POPULATION:
        return 1
    return max(1, min(POPULATION, trials // 4))


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        leaves |= _leaves(inner, f"{name}.") if isinstance(inner, dict) and inner else {name: inner}
    return leaves
