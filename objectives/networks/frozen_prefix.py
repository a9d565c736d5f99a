"""Frozen means frozen: contract C1 for the units before the cut."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn

from .batchnorm_folding import fold
from .heads import FixedPooling

# A frozen prefix always runs on this many images at once. Convolutions may round differently for another batch
# size, so a canonical one makes a feature the same number whoever computes it, and when (contract C3).
CANONICAL_BATCH = 32


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of tensors."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        array = value.detach().to("cpu").contiguous()
        digest.update(f"{name}|{tuple(array.shape)}|{array.dtype}|".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FrozenPrefix(nn.Module):
    """The units before a cut: no gradients, always in evaluation mode, run at the canonical batch size.

    Args:
        prefix: The network before the cut.
        depth: How many units that is; 0 passes images through.
        pooling: What of the head's pooling follows at once; what it gives is smaller to keep.

    Attributes:
        pick: Takes from the features (N, ...) that are kept those of this prefix.
        fingerprint: Hash of parameters and buffers as they were handed over.
    """

    def __init__(self, prefix: nn.Module, depth: int, pooling: FixedPooling | None = None) -> None:
        super().__init__()
        self.prefix = prefix.requires_grad_(False).eval()
        pooling = pooling or FixedPooling()
        self.pooling, self.pick = nn.Sequential(*pooling.modules), pooling.pick
        self.depth = depth
        self.fingerprint = state_hash(self.state_dict())
        # Walked twice an epoch.
        self._frozen = tuple(prefix.modules())
        # The state that was folded last and what came of it, for all poolings; in a list, so no part of the network.
        self._folded: list[tuple[Hashable, nn.Module]] = []

    def pooled(self, pooling: FixedPooling) -> FrozenPrefix:
        """The same units under another pooling."""
        prefix = copy.copy(self)
        prefix._modules = {**self._modules, "pooling": nn.Sequential(*pooling.modules), "pick": pooling.pick}
        return prefix

    @property
    def kept_key(self) -> tuple[Hashable, ...]:
        """What the features to keep depend on, besides the images."""
        return (self.fingerprint, self.depth, repr(self.pooling))

    @property
    def key(self) -> tuple[Hashable, ...]:
        """What its results depend on, besides the images."""
        return (*self.kept_key, repr(self.pick))

    def train(self, mode: bool = True) -> FrozenPrefix:
        """Stay in evaluation mode: batch norms use their running statistics, dropout is off."""
        self.training = mode
        for module in self._frozen:
            if module.training:
                module.training = False
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map images (N, ...) to features (N, ...)."""
        return self.pick(self.kept(images))

    @torch.no_grad()
    def kept(self, images: Tensor) -> Tensor:
        """Map images (N, ...) to the features to keep, in chunks of the canonical size, the last one padded."""
        if self.depth == 0:
            return images
        network = self._run()
        return torch.cat([self._chunk(network, chunk) for chunk in images.split(CANONICAL_BATCH)])

    def _run(self) -> nn.Module:
        """What computes the features: the prefix as it is now, its batch norms folded."""
        # Tensors that were written to, or moved to another device, are others.
        state = tuple(
            (value.data_ptr(), value._version) for value in (*self.prefix.parameters(), *self.prefix.buffers())
        )
        if not self._folded or self._folded[0][0] != state:
            self._folded[:] = [(state, fold(self.prefix))]
        return self._folded[0][1]

    def _chunk(self, network: nn.Module, images: Tensor) -> Tensor:
        count = len(images)
        if count < CANONICAL_BATCH:
            images = torch.cat([images, images[-1:].expand(CANONICAL_BATCH - count, *images.shape[1:])])
        return self.pooling(network(_channels_last(images)))[:count]


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
