"""Pool of a process's backbones: built once, handed out with their initial weights."""

from __future__ import annotations

from functools import cached_property

from ..backbones import Backbone, create_backbone, describe_first_layer, random_weights
from ..config import BackboneSpec
from .frozen_prefix import state_hash
from .lora import remove_adapters


class BackbonePool:
    """The backbone of one specification, built once per process and handed out with its initial weights.

    Args:
        spec: Network, weights, image size and channels.

    Attributes:
        first_layer: What was done to the first layer of the initial weights; empty for images in color.

    Raises:
        InvalidInputError: See :func:`~frostline.objectives.backbones.backbone.create_backbone`.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        self.spec = spec
        self._backbone = create_backbone(spec)
        self.first_layer = self._backbone.first_layer
        self._pristine = {name: value.clone() for name, value in self._backbone.model.state_dict().items()}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the initial weights."""
        return state_hash(self._pristine)

    @property
    def pretrained(self) -> Backbone:
        """The backbone, to read its units, shapes and loading report."""
        return self._backbone

    def fresh(self, *, pretrained: bool, seed: int) -> Backbone:
        """The network with its initial weights, or with random weights from the seed.

        There is only one network: the next call changes it.
        """
        state = self._pristine if pretrained else random_weights(self.spec, seed)
        remove_adapters(self._backbone.model, merge=False)
        self._backbone.model.load_state_dict(state)
        drawn = describe_first_layer(self.spec.channels, pretrained=False, adapted=False)
        self._backbone.first_layer = self.first_layer if pretrained else drawn
        self._backbone.model.zero_grad(set_to_none=True)
        return self._backbone
