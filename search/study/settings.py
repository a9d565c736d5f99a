"""What a study asks: data, backbone, space, metric and budget. Stored with the study; a resume must agree with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ...objectives.config import BackboneSpec
from ..space.space import Space

# Head-only trials that train together, and up to how many training images they do.
POPULATION = 8
LARGEST_TOGETHER = 50_000


class StudySettings(BaseModel):
    """One question.

    Attributes:
        name: Of the study, its MLflow experiment and parent run.
        data: A folder, ``sklearn:digits...`` or ``torchvision:NAME``.
        backbone: Name of a torchvision classification model, ``timm:NAME`` or ``module:function``.
        weights: A published name, a file, or ``none``.
        image_size: Side of the square the network sees, pixels.
        trials: Budget: how many trials end complete, pruned or failed.
        metric: What trials maximise on the validation split.
        seed: Of splits, data order, heads and sampling.
        finals_seeds: Trainings of each finalist.
        population: How many trials that train nothing but a head are asked at once and trained together, at most.
        space: What is searched.
        plugins: Modules that register strategies of the space; what trains imports them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    data: str
    backbone: str
    weights: str
    image_size: int
    trials: int = Field(ge=1)
    metric: str
    seed: int = Field(ge=0)
    finals_seeds: int = Field(ge=1)
    population: int = Field(default=1, ge=1)
    space: Space
    plugins: tuple[str, ...] = ()

    @property
    def spec(self) -> BackboneSpec:
        return BackboneSpec(self.backbone, self.weights, self.image_size)

    @property
    def strategies(self) -> tuple[str, ...]:
        return tuple(self.space.strategies)

    def differences(self, other: StudySettings) -> dict[str, tuple[Any, Any]]:
        """What differs, by dotted name down to single parameters of the space: own value, the other's.

        How many train together is no part of the question, and depends on the machine.
        """
        own, others = (_leaves(each.model_dump(exclude={"population"})) for each in (self, other))
        names = dict.fromkeys([*own, *others])
        return {name: (own.get(name), others.get(name)) for name in names if own.get(name) != others.get(name)}


def default_population(trials: int, images: int, device: str) -> int:
    """How many head-only trials train together when the user does not say.

    On a GPU, where small steps wait for their launches. A CPU gains from heads of one structure alone: in a search over
    structures, 30 trials took twice as long together (benchmarks/README.md), for the first population is not pruned.
    A quarter of the budget at most, so that the later ones learn from the earlier ones; and one at a time where a
    training takes long: a population that is cut off begins anew.

    Args:
        trials: Budget.
        images: Of the training split.
        device: Type of the device.
    """
    if device == "cpu" or images > LARGEST_TOGETHER:
        return 1
    return max(1, min(POPULATION, trials // 4))


def _leaves(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{prefix}{key}"
        leaves |= _leaves(inner, f"{name}.") if isinstance(inner, dict) and inner else {name: inner}
    return leaves
