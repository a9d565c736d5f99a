"""Mixing the images of a training batch, and their labels in the same shares: mixup and CutMix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Box = tuple[int, int, int, int]
"""Top, left, bottom, right in pixels; bottom and right are just outside."""


@dataclass(frozen=True)
class Mix:
    """How one batch is mixed, each image with a partner of the same batch.

    Attributes:
        partners: int64 (N,) on the CPU, the partner of each image: a permutation.
        share: What an image keeps of itself, in [0, 1]; the same for the whole batch.
        box: Where the partner's pixels replace the image's own; None blends all pixels by the share.
    """

    partners: Tensor
    share: float
    box: Box | None = None

    def images(self, images: Tensor) -> Tensor:
        """Mixed float (N, C, S, S); the images given stay as they are."""
        partners = self.partners.to(images.device)
        if self.box is None:
            return self.share * images + (1 - self.share) * images[partners]
        top, left, bottom, right = self.box
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[partners, :, top:bottom, left:right]
        return mixed


class Mixer:
    """Draws how batches are mixed, from (seed, epoch, step) alone.

    Args:
        method: ``none``, ``mixup`` (Zhang et al. 2018) or ``cutmix`` (Yun et al. 2019).
        alpha: The share is drawn once a batch from Beta(alpha, alpha), as in both papers.
        size: Side of the images, pixels.
        seed: Of the draws, not negative.
    """

    def __init__(self, method: str, alpha: float, size: int, seed: int) -> None:
        self._method = method
        self._alpha = alpha
        self._size = size
        self._seed = seed

    def draw(self, images: int, epoch: int, step: int) -> Mix | None:
        """The mix of a step's batch of so many images; None leaves it as it is."""
        if self._method == "none":
            return None
        random = np.random.default_rng((self._seed, epoch, step))
        share = float(random.beta(self._alpha, self._alpha))
        partners = torch.from_numpy(random.permutation(images))
        if self._method == "mixup":
            return Mix(partners, share)
        box = cut_box(share, self._size, *random.integers(0, self._size, size=2).tolist())
        return Mix(partners, 1 - _area(box) / self._size**2, box)


def cut_box(share: float, size: int, row: int, column: int) -> Box:
    """A square of 1 - ``share`` of the area about a pixel, cut off at the border of the image."""
    half = int(size * (1 - share) ** 0.5) // 2
    return max(0, row - half), max(0, column - half), min(size, row + half), min(size, column + half)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def mixed_loss(criterion: Callable[[Tensor], Tensor], labels: Tensor, mix: Mix | None) -> Tensor:
    """The criterion of labels (N,) and of the partners' labels, in the shares of the mix.

    For cross-entropy, smoothed or not, that is the cross-entropy to the mixed one-hot labels.
    """
    if mix is None:
        return criterion(labels)
    return mix.share * criterion(labels) + (1 - mix.share) * criterion(labels[mix.partners.to(labels.device)])
