"""The frozen prefix of a network: the units before the cut, which never change (contract C1)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Hashable, Mapping

import torch
from torch import Tensor, nn

from ..devices import autocast
from ..precision import FLOAT32
from .batchnorm_folding import fold
from .heads import FixedPooling
from .packed_convolutions import pack

# Batch size of every run of a frozen prefix. Convolutions may round differently for another batch size; with this one
# a feature is the same number in every trial and process (contract C3).
CANONICAL_BATCH = 32
# Modules that mixed precision computes in bfloat16 whatever their inputs.
_PRODUCTS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of tensors.

    >>> import torch
    >>> from frostline.objectives.networks import state_hash
    >>> state_hash({"w": torch.zeros(2)}) == state_hash({"w": torch.zeros(3)})
    False
    """
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        array = value.detach().to("cpu").contiguous()
        digest.update(f"{name}|{tuple(array.shape)}|{array.dtype}|".encode())
        digest.update(array.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


class FrozenPrefix(nn.Module):
    """The units before a cut: no gradients, always in evaluation mode, run at the canonical batch size.

    Args:
        prefix: Network before the cut.
        depth: Number of its units; 0 passes images through.
        pooling: Part of the head's pooling to run at once, since its output is smaller to store. It
            computes in float32.
        precision: Precision of the units, ``float32`` or ``bfloat16``.

    Attributes:
        pick: Module that selects this prefix's part of the stored features (N, ...).
        fingerprint: Hash of parameters and buffers at construction.
    """

    def __init__(
        self, prefix: nn.Module, depth: int, pooling: FixedPooling | None = None, precision: str = FLOAT32
    ) -> None:
        super().__init__()
        self.prefix = prefix.requires_grad_(False).eval()
        pooling = pooling or FixedPooling()
        self.pooling, self.pick = nn.Sequential(*pooling.modules), pooling.pick
        self.depth = depth
        self.precision = precision
        self.fingerprint = state_hash(self.state_dict())
        # Listed once, since train() visits them twice an epoch.
        self._frozen = tuple(prefix.modules())
        # The state folded last, with the folded network, for all poolings; in a list, so that it is no submodule.
        self._folded: list[tuple[Hashable, nn.Module]] = []

    def pooled(self, pooling: FixedPooling) -> FrozenPrefix:
        """The same units under another pooling."""
        prefix = copy.copy(self)
        prefix._modules = {**self._modules, "pooling": nn.Sequential(*pooling.modules), "pick": pooling.pick}
        return prefix

    @property
    def kept_key(self) -> tuple[Hashable, ...]:
        """All that the stored features depend on, besides the images."""
        return (self.fingerprint, self.depth, repr(self.pooling), self.precision)

    @property
    def key(self) -> tuple[Hashable, ...]:
        """All that the output depends on, besides the images."""
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
        """Map images (N, ...) to the features to store, in chunks of the canonical size; the last chunk is padded."""
        if self.depth == 0:
            return images
        network = self._run()
        with autocast(images.device, self.precision):
            return torch.cat([self._chunk(network, chunk) for chunk in images.split(CANONICAL_BATCH)])

    def _run(self) -> nn.Module:
        """The module that computes the features: the present prefix with folded batch norms."""
        # The key changes when a tensor is written to or moved to another device.
        tensors = (*self.prefix.parameters(), *self.prefix.buffers())
        state = (self.precision, *((value.data_ptr(), value._version) for value in tensors))
        if not self._folded or self._folded[0][0] != state:
            self._folded[:] = [(state, as_run(self.prefix, self.precision))]
        return self._folded[0][1]

    def _chunk(self, network: nn.Module, images: Tensor) -> Tensor:
        count = len(images)
        if count < CANONICAL_BATCH:
            images = torch.cat([images, images[-1:].expand(CANONICAL_BATCH - count, *images.shape[1:])])
        features = network(_channels_last(images))
        return (self.pooling(in_float32(features)) if len(self.pooling) else features)[:count]


def as_run(network: nn.Module, precision: str) -> nn.Module:
    """The module that computes a frozen network in a precision: folded, and packed in bfloat16.

    Features in float32 stay what they were in earlier versions, to the last bit.
    """
    folded = folded_in(network, precision)
    return folded if precision == FLOAT32 else pack(folded)


def folded_in(network: nn.Module, precision: str) -> nn.Module:
    """A network with folded batch norms, to run in a precision: in bfloat16, its weights are rounded once.

    Args:
        network: Network in evaluation mode; it stays as it is.
        precision: ``float32`` or ``bfloat16``.
    """
    folded = fold(network)
    if precision == FLOAT32:
        return folded
    rounded = copy.deepcopy(folded)
    for module in rounded.modules():
        # Exactly these: what a subclass does with its weights is not known.
        if type(module) in _PRODUCTS:
            module.to(torch.bfloat16)
    return rounded


def in_float32(features: Tensor | tuple[Tensor, ...]) -> Tensor | tuple[Tensor, ...]:
    return features.float() if isinstance(features, Tensor) else tuple(each.float() for each in features)


def _channels_last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images
