"""A network as a phase trains it: frozen prefix, trainable suffix, head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .backbones import Backbone
from .freezing import FrozenPrefix


class Network(nn.Module):
    """A backbone cut at a depth, with a head.

    Args:
        backbone: Whose units are shared, not copied.
        freeze_depth: Units before the cut.
        head: From the backbone's last features to logits.
        batch_norm: Mode of the suffix's batch norms while training, ``train`` or ``eval``.
    """

    def __init__(self, backbone: Backbone, freeze_depth: int, head: nn.Module, batch_norm: str = "train") -> None:
        super().__init__()
        units = len(backbone.units)
        self.prefix = FrozenPrefix(backbone.segment(0, freeze_depth), freeze_depth)
        self.suffix: nn.Module = backbone.segment(freeze_depth, units) if freeze_depth < units else nn.Identity()
        self.suffix.requires_grad_(True)
        self.head = head
        self._batch_norm_eval = batch_norm == "eval"

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, S, S)."""
        return self.classify(self.prefix(images))

    def classify(self, features: Tensor) -> Tensor:
        """Logits (N, classes) of the prefix's features (N, ...): the part that trains."""
        return self.head(self.suffix(features))

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        if mode and self._batch_norm_eval:
            for module in self.suffix.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def trainable(self) -> list[tuple[str, nn.Parameter]]:
        """Names and parameters of suffix and head."""
        return [(name, parameter) for name, parameter in self.named_parameters() if parameter.requires_grad]

    def trainable_state(self) -> dict[str, Tensor]:
        """A copy of the parameters and buffers of suffix and head."""
        return {
            name: value.detach().clone() for name, value in self.state_dict().items() if not name.startswith("prefix.")
        }

    def backbone_state(self) -> dict[str, Tensor]:
        """Parameters and buffers of the whole backbone, named as in the model."""
        state = {**self.prefix.prefix.state_dict(), **self.suffix.state_dict()}
        return {name: value.detach().clone() for name, value in state.items()}

    def load_trainable_state(self, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`trainable_state` gave."""
        own = self.state_dict()
        with torch.no_grad():
            for name, value in state.items():
                own[name].copy_(value)
