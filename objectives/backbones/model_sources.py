"""Sources of networks: torchvision, timm or a function of the user's, chosen by the name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Protocol

from torch import Tensor, nn

from ..errors import InvalidInputError
from ..preprocessing import RGB, Preprocessing


class ModelSource(Protocol):
    """One network that can be built, with its published weights."""

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the published weights, with ``"DEFAULT"`` if there are any."""
        ...

    def preprocessing(self, weights: str) -> Preprocessing:
        """The evaluation transform of published weights; that of the first ones for a file or ``"none"``."""
        ...

    def size_rule(self) -> tuple[int, int]:
        """Smallest image side that works, and the number that image sides must be a multiple of; pixels."""
        ...

    def create(self, image_size: int, weights: str | None, channels: int = RGB) -> nn.Module:
        """Build the network.

        Args:
            image_size: Side of the images, pixels.
            weights: Name of published weights or a file, which :meth:`state` or the caller then copies in; None for
                random weights from torch's global generator.
            channels: Number of channels of the images, where the library or function builds networks for others than
                color; the caller adapts the first layer of those that it does not.

        Raises:
            InvalidInputError: The network cannot be built; with the reason.
        """
        ...

    def arguments(self, image_size: int, weights: str | None, channels: int = RGB) -> dict[str, Any]:
        """Keyword arguments with which :meth:`create` calls the library's builder, or the user's function."""
        ...

    def state(self, weights: str) -> Mapping[str, Tensor] | None:
        """The tensors of published weights; None if :meth:`create` returns the network with them.

        Raises:
            InvalidInputError: The weights cannot be downloaded.
        """
        ...


@cache
def model_source(name: str) -> ModelSource:
    """The source of a name: ``timm:NAME``, ``module:function``, else torchvision.

    Raises:
        InvalidInputError: There is no such network.

    Example:
        >>> from frostline.objectives.backbones.model_sources import model_source
        >>> model_source("resnet18").weights
        ('IMAGENET1K_V1', 'DEFAULT')
    """
    # Each source is imported only when a name needs it: timm is an optional dependency.
    if name.startswith("timm:"):
        from .timm_models import TimmModel

        return TimmModel.find(name)
    if ":" in name:
        from .user_models import FactoryModel

        return FactoryModel.find(name)
    from .torchvision_models import TorchvisionModel

    return TorchvisionModel.find(name)


def preprocessing_for(backbone: str, weights: str, image_size: int | None = None, channels: int = RGB) -> Preprocessing:
    """The evaluation transform of a backbone's weights.

    Args:
        backbone: Name of a network; see :func:`model_source`.
        weights: Name of published weights. A local file or ``"none"`` gets the transform of the model's first published
            weights, the recipe that retrained files follow.
        image_size: Side of the images, pixels, instead of the weights' own; the ratio of resize to crop is kept.
        channels: Number of channels of the images; see :meth:`Preprocessing.of_channels`.

    Raises:
        InvalidInputError: There is no such network, or its statistics are those of another number of channels.

    Example:
        >>> from frostline.objectives.backbones import preprocessing_for
        >>> preprocessing_for("resnet18", "DEFAULT", image_size=112).resize_size
        128
    """
    own = model_source(backbone).preprocessing(weights)
    try:
        own = own.of_channels(channels)
    except ValueError as error:
        raise InvalidInputError(f"The preprocessing of {backbone}: {error}. Try --channels {own.channels}.") from error
    if image_size is None:
        return own
    return replace(own, image_size=image_size, resize_size=round(image_size * own.resize_size / own.image_size))
