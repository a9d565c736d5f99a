"""Where networks come from: torchvision, timm, or a function of the user's, told apart by the name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Protocol

from torch import Tensor, nn

from ..preprocessing import Preprocessing


class ModelSource(Protocol):
    """One network that can be built, with the weights that its source publishes."""

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of the published weights, ``"DEFAULT"`` among them if there are any."""
        ...

    def preprocessing(self, weights: str) -> Preprocessing:
        """The evaluation transform of published weights; of the first ones for a file or ``"none"``."""
        ...

    def size_rule(self) -> tuple[int, int]:
        """The smallest side of an image that can work, and what sides must be a multiple of; pixels."""
        ...

    def create(self, image_size: int, weights: str | None) -> nn.Module:
        """Build the network.

        Args:
            image_size: Pixels.
            weights: Published ones or a file, to be copied in by :meth:`state` or by the caller; None for weights
                from torch's global generator.

        Raises:
            InvalidInputError: It cannot be built so, with the reason.
        """
        ...

    def state(self, weights: str) -> Mapping[str, Tensor] | None:
        """The tensors of published weights; None if :meth:`create` gives the network with them.

        Raises:
            InvalidInputError: They cannot be downloaded.
        """
        ...


@cache
def model_source(name: str) -> ModelSource:
    """The source that a name belongs to: ``timm:NAME``, ``module:function``, else torchvision's.

    Raises:
        InvalidInputError: There is no such network.
    """
    # Each source is imported only for its names: timm is an extra.
    if name.startswith("timm:"):
        from .timm_models import TimmModel

        return TimmModel.find(name)
    if ":" in name:
        from .user_models import FactoryModel

        return FactoryModel.find(name)
    from .torchvision_models import TorchvisionModel

    return TorchvisionModel.find(name)


def preprocessing_for(backbone: str, weights: str, image_size: int | None = None) -> Preprocessing:
    """The evaluation transform that belongs to a backbone's weights.

    Args:
        backbone: Name of a network; see :func:`model_source`.
        weights: Published weights; for a local file or ``"none"`` the transform of the model's first published
            weights is taken, since that is the recipe that retrained files follow.
        image_size: Another side than the weights' own, pixels; the ratio of resize to crop is kept.
    """
    own = model_source(backbone).preprocessing(weights)
    if image_size is None:
        return own
    resize = round(image_size * own.resize_size / own.image_size)
    return replace(own, image_size=image_size, resize_size=max(image_size, resize))
