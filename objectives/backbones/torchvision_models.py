"""Classification models of torchvision, by name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, list_models

from ..errors import InvalidInputError, unknown_name
from ..preprocessing import MIN_IMAGE_SIZE, RGB, Preprocessing, plural_channels


@dataclass(frozen=True)
class BackboneInfo:
    """What torchvision publishes about a model: one line of the list of backbones.

    Attributes:
        name: Name of the model.
        parameters: Number of parameters, with its ImageNet classifier.
        gflops: 1e9 floating-point operations per image of the default size; a multiply-add counts 2.
        image_size: Default image side, pixels.
        min_image_size: Smallest image side that it can take, pixels.
        weights: Names of the published weights.
    """

    name: str
    parameters: int
    gflops: float
    image_size: int
    min_image_size: int
    weights: tuple[str, ...]


def backbone_names() -> list[str]:
    """Names of all classification models of torchvision, sorted.

    >>> from frostline.objectives.backbones.torchvision_models import backbone_names
    >>> "resnet18" in backbone_names()
    True
    """
    return list_models(module=torchvision.models)


def backbone_table() -> list[BackboneInfo]:
    """Facts that torchvision publishes about each model; no model is built."""
    return [_info(name) for name in backbone_names()]


@dataclass(frozen=True)
class TorchvisionModel:
    """A :class:`~frostline.objectives.backbones.model_sources.ModelSource` of torchvision."""

    name: str

    @classmethod
    def find(cls, name: str) -> TorchvisionModel:
        """The model of a name.

        Raises:
            InvalidInputError: torchvision has no model of this name.
        """
        names = backbone_names()
        if name not in names:
            raise InvalidInputError(
                unknown_name("backbone", name, names, list_valid="frostline backbones")
                + " (timm:NAME takes timm's, module:function your own)"
            )
        return cls(name)

    @property
    def weights(self) -> tuple[str, ...]:
        return tuple(self._published())

    def preprocessing(self, weights: str) -> Preprocessing:
        entries = get_model_weights(self.name)
        entry = entries[weights] if weights in self.weights else next(iter(entries))
        preset: Any = entry.transforms()
        return Preprocessing(
            image_size=preset.crop_size[0],
            resize_size=preset.resize_size[0],
            interpolation=preset.interpolation.value,
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        )

    def size_rule(self) -> tuple[int, int]:
        """The published minimum. Transformers publish the side of their training instead; for them it is ignored."""
        step, entry = self._size_step(), next(iter(self._published().values()))
        smallest, trained = entry.meta["min_size"][0], self.preprocessing(entry.name).image_size
        smallest = max(MIN_IMAGE_SIZE, smallest if smallest < trained else 0)
        return -(-smallest // step) * step, step

    def create(self, image_size: int, weights: str | None, channels: int = RGB) -> nn.Module:
        given = self.arguments(image_size, weights)
        if channels != RGB and given.get("transform_input"):
            raise InvalidInputError(
                f"{self.name} with weights converts red, green and blue itself, so it cannot take images of "
                f"{plural_channels(channels)}. Take another backbone, or leave out --channels."
            )
        return get_model(self.name, weights=None, **given)

    def state(self, weights: str) -> Mapping[str, Tensor]:
        try:
            return self._published()[weights].get_state_dict(progress=True, check_hash=True, weights_only=True)
        except OSError as error:
            raise InvalidInputError(
                f"The weights {weights} of {self.name} could not be downloaded ({error}). "
                "Check the connection, or use --weights FILE, or --weights none for random weights."
            ) from None

    def _published(self) -> dict[str, WeightsEnum]:
        """Published weights by name, ``DEFAULT`` among them."""
        return dict(get_model_weights(self.name).__members__)

    def arguments(self, image_size: int, weights: str | None, channels: int = RGB) -> dict[str, Any]:
        if self.name in ("googlenet", "inception_v3"):
            # Their published weights, from TensorFlow, expect other input statistics, to which the model converts.
            return {"aux_logits": False, "init_weights": True, "transform_input": weights is not None}
        if self.name.startswith("vit_"):
            return {"image_size": image_size}
        if self.name.startswith("maxvit"):
            return {"input_size": (image_size, image_size)}
        return {}

    def _size_step(self) -> int:
        if self.name.startswith("maxvit"):
            return 224  # Windows of side 7 after five halvings.
        patch = re.fullmatch(r"vit_\w_(\d+)", self.name)
        return int(patch[1]) if patch else 1


def _info(name: str) -> BackboneInfo:
    model, entries = TorchvisionModel(name), get_model_weights(name)
    first = next(iter(entries))
    return BackboneInfo(
        name=name,
        parameters=first.meta["num_params"],
        gflops=2 * first.meta["_ops"],
        image_size=model.preprocessing(first.name).image_size,
        min_image_size=model.size_rule()[0],
        weights=tuple(entry.name for entry in entries),
    )
