"""Mixup and CutMix: the images of a batch and their labels, mixed in the same shares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Box = tuple[int, int, int, int]
"""Top, left, bottom and right in pixels; bottom and right are exclusive."""


@dataclass(frozen=True)
class Mix:
    """A mix of one batch: each image is mixed with a partner from the batch.

    Attributes:
        partners: Partner of each image, int64 (N,) on the CPU, a permutation.
        share: Share of the image itself in its mixture, in [0, 1]; the same for the whole batch.
        box: Where the partner's pixels replace the image's own; None blends all pixels by the share.
    """

    partners: Tensor
    share: float
    box: Box | None = None

    def images(self, images: Tensor) -> Tensor:
        """Mix images, float (N, C, S, S); returns a new tensor.

        >>> import torch
        >>> from frostline.objectives.augmentation import Mix
        >>> images = torch.tensor([0.0, 8.0]).reshape(2, 1, 1, 1)
        >>> Mix(torch.tensor([1, 0]), share=0.75).images(images).flatten().tolist()
        [2.0, 6.0]
        """
        partners = self.partners.to(images.device)
        if self.box is None:
            return self.share * images + (1 - self.share) * images[partners]
        top, left, bottom, right = self.box
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[partners, :, top:bottom, left:right]
        return mixed


class Mixer:
    """Draws the mix of each batch, from (seed, epoch, step) alone.

    Args:
        method: Name of the method: ``none``, ``mixup`` (Zhang et al. 2018) or ``cutmix`` (Yun et al. 2019).
        alpha: Parameter of Beta(alpha, alpha), from which each batch draws its share, as in both papers.
        size: Side of the images, pixels.
        seed: Seed of the draws, not negative.
    """

    def __init__(self, method: str, alpha: float, size: int, seed: int) -> None:
        self._method = method
        self._alpha = alpha
        self._size = size
        self._seed = seed

    def draw(self, images: int, epoch: int, step: int) -> Mix | None:
        """The mix of a batch; None leaves the batch unmixed.

        Args:
            images: Images in the batch.
            epoch: Number of the epoch within the trial.
            step: Number of the step within the epoch.
        """
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
    """A square of the share 1 - ``share`` of the area around a pixel, clipped at the border of the image.

    >>> from frostline.objectives.augmentation.mixing import cut_box
    >>> cut_box(share=0.75, size=8, row=4, column=0)
    (2, 0, 6, 2)
    """
    half = int(size * (1 - share) ** 0.5) // 2
    return max(0, row - half), max(0, column - half), min(size, row + half), min(size, column + half)


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


def mixed_loss(criterion: Callable[[Tensor], Tensor], labels: Tensor, mix: Mix | None) -> Tensor:
    """The loss for the labels and for the partners' labels, weighted by the shares of the mix.

    For cross-entropy divided by the number of images, with or without label smoothing and class weights, that equals
    the cross-entropy to the mixed one-hot labels.

    Args:
        criterion: Loss (a scalar) as a function of labels (N,).
        labels: Labels of the batch, int64 (N,).
        mix: Mix of the batch; None for an unmixed one.
    """
    if mix is None:
        return criterion(labels)
    return mix.share * criterion(labels) + (1 - mix.share) * criterion(labels[mix.partners.to(labels.device)])
