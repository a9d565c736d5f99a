"""What a study asks: data, backbone, space, metric and budget. Stored with the study; a resume must agree with it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ..objectives.backbones import BackboneSpec
from .space import Space


class StudySettings(BaseModel):
    """One question.

    Attributes:
        name: Of the study, its MLflow experiment and parent run.
        data: A folder, ``sklearn:digits...`` or ``torchvision:NAME``.
        backbone: Name of a torchvision classification model.
        weights: A torchvision weights name, a file, or ``none``.
        image_size: Side of the square the network sees, pixels.
        trials: Budget: how many trials end complete, pruned or failed.
        metric: What trials maximise on the validation split.
        seed: Of splits, data order, heads and sampling.
        finals_seeds: Trainings of each finalist.
        space: What is searched.
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
    space: Space

    @property
    def spec(self) -> BackboneSpec:
        return BackboneSpec(self.backbone, self.weights, self.image_size)

    @property
    def strategies(self) -> tuple[str, ...]:
        return tuple(self.space.strategies)

    def differences(self, other: StudySettings) -> dict[str, tuple[Any, Any]]:
        """Fields that differ, by name: own value, the other's."""
        return {
            field: (getattr(self, field), getattr(other, field))
            for field in type(self).model_fields
            if getattr(self, field) != getattr(other, field)
        }
