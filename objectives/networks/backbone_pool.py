"""The pool of backbones: built once a process, handed out with their first weights."""

from __future__ import annotations

from functools import cached_property

from ..backbones.backbone import Backbone, create_backbone, random_weights
from ..config import BackboneSpec
from .frozen_prefix import state_hash
from .lora import remove_adapters


class BackbonePool:
    """Backbones of one specification, built once a process and handed out with their first weights.

    Args:
        spec: Which network and weights.
    """

    def __init__(self, spec: BackboneSpec) -> None:
        self.spec = spec
        self._backbone = create_backbone(spec)
        self._pristine = {name: value.clone() for name, value in self._backbone.model.state_dict().items()}

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the first weights."""
        return state_hash(self._pristine)

    @property
    def pretrained(self) -> Backbone:
        """For looking at: units, shapes, the report of loading."""
        return self._backbone

    def fresh(self, *, pretrained: bool, seed: int) -> Backbone:
        """The network as it was loaded, or with random weights of the seed. There is one: the next call changes it."""
        state = self._pristine if pretrained else random_weights(self.spec, seed)
        remove_adapters(self._backbone.model, merge=False)
        self._backbone.model.load_state_dict(state)
        self._backbone.model.zero_grad(set_to_none=True)
        return self._backbone
