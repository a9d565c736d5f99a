"""Augmented views of images: augmentation that depends on (seed, image, view) alone, batched on the device.

View v of image i has the same pixels at any time, in any batch and in any worker. With K views, epoch e sees view e mod
K, so the features of a frozen prefix can be cached; without a limit, epoch e sees view e.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..preprocessing import Preprocessing
from .policies import RandomOps

# Range of a resized crop's area and aspect ratio; ImageNet's recipe of 300 epochs starts at an area of 0.08.
CROP_SCALE = (0.35, 1.0)
CROP_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))
_DRAWS = 5


class AugmentedViews:
    """Turns stored canvases into augmented, normalized inputs of the network.

    Args:
        policy: Name of the augmentation: ``none`` (the evaluation crop), ``crop`` (random position), ``flip_crop``
            (also mirrored half of the time), ``resized_crop`` (random area, aspect ratio and position, mirrored half of
            the time), ``trivial`` or ``randaugment`` (``flip_crop``, then random operations).
        count: Number of distinct views; 0 for a new view each epoch. ``none`` has one view.
        preprocessing: Sizes and statistics of the images.
        images: Number of images in the split.
        seed: Seed of the random draws.
        ops: Random operations of ``trivial`` and ``randaugment``, applied to pixels before normalization.

    Example:
        >>> import torch
        >>> from frostline.objectives.augmentation import AugmentedViews
        >>> from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
        >>> preprocessing = Preprocessing(28, 32, "bilinear", IMAGENET_MEAN, IMAGENET_STD)
        >>> views = AugmentedViews("flip_crop", 4, preprocessing, images=10, seed=0)
        >>> canvases = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        >>> views.apply(canvases, torch.tensor([0, 7]), views.of_epoch(5)).shape
        torch.Size([2, 3, 28, 28])
    """

    def __init__(
        self,
        policy: str,
        count: int,
        preprocessing: Preprocessing,
        images: int,
        seed: int,
        ops: RandomOps | None = None,
    ) -> None:
        self.policy = policy
        self.count = 1 if policy == "none" else count
        self._preprocessing = preprocessing
        self._images = images
        self._seed = seed
        self._ops = ops
        self._drawn: tuple[int, Tensor] | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """All that the pixels of a view depend on, besides the stored images and the number of the view."""
        return (self._preprocessing, self.policy, self._ops, None if self.policy == "none" else self._seed)

    def of_epoch(self, epoch: int) -> int:
        """Number of the view in an epoch (from 0)."""
        return epoch % self.count if self.count else epoch

    def apply(self, canvas: Tensor, positions: Tensor, view: int) -> Tensor:
        """Augment and normalize images.

        Args:
            canvas: Canvases, uint8 (N, 3, R, R).
            positions: Positions of the images in the split, int64 (N,).
            view: Number of the view.

        Returns:
            float32 (N, 3, S, S), channels-last in memory.
        """
        if self.policy == "none":
            pixels = center_crop(canvas, self._preprocessing.image_size).float()
        else:
            draws = self._draws(view)[positions.to("cpu")]
            pixels = self._augment(canvas, draws[:, :_DRAWS].to(canvas.device))
            if self._ops is not None:
                pixels = self._ops.apply(pixels.byte(), draws[:, _DRAWS:]).float()
        return self._normalize(pixels).contiguous(memory_format=torch.channels_last)

    def _draws(self, view: int) -> Tensor:
        """Uniform numbers (images, draws) of a view; those of the latest view are cached."""
        if self._drawn is None or self._drawn[0] != view:
            generator = torch.Generator().manual_seed(self._seed * 1_000_003 + view)
            count = _DRAWS + (self._ops.draws if self._ops else 0)
            self._drawn = (view, torch.rand(self._images, count, generator=generator))
        return self._drawn[1]

    def _augment(self, canvas: Tensor, draws: Tensor) -> Tensor:
        size = self._preprocessing.image_size
        if self.policy == "crop":
            return shifted_crop(canvas, draws[:, :2], size).float()
        mirrored = draws[:, 4] < 0.5
        if self.policy == "resized_crop":
            return resized_crop(canvas.float(), draws[:, :4], size, mirrored)
        return shifted_crop(canvas, draws[:, :2], size, mirrored).float()

    def _normalize(self, pixels: Tensor) -> Tensor:
        """Normalize in place: the pixels are a temporary copy."""
        mean, std = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )
        return pixels.div_(255).sub_(mean).div_(std)


def center_crop(canvas: Tensor, size: int) -> Tensor:
    """The central (N, C, size, size), rounded as torchvision's ``center_crop`` does.

    >>> import torch
    >>> from frostline.objectives.augmentation.views import center_crop
    >>> center_crop(torch.arange(16).reshape(1, 1, 4, 4), 2).flatten().tolist()
    [5, 6, 9, 10]
    """
    start = round((canvas.shape[-1] - size) / 2)
    return canvas[..., start : start + size, start : start + size]


def shifted_crop(canvas: Tensor, draws: Tensor, size: int, mirrored: Tensor | None = None) -> Tensor:
    """Crop each image at a random whole-pixel offset.

    Canvases whose margin is below an eighth of the size are padded by reflection first.

    Args:
        canvas: Images (N, C, R, R).
        draws: Uniform numbers (N, 2) of the vertical and horizontal offsets.
        size: Side of the crops, pixels.
        mirrored: Which crops are mirrored, bool (N,); None for none.

    Returns:
        Crops (N, C, size, size).
    """
    padding = max(0, math.ceil((size // 8 - (canvas.shape[-1] - size)) / 2))
    if padding:
        canvas = F.pad(canvas.float(), [padding] * 4, mode="reflect")
    offsets = (draws * (canvas.shape[-1] - size + 1)).long()
    span = torch.arange(size, device=canvas.device)
    rows = offsets[:, 0, None] + span
    columns = _turned(offsets[:, 1, None] + span, mirrored)
    batch = torch.arange(len(canvas), device=canvas.device)[:, None, None]
    return canvas.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def resized_crop(canvas: Tensor, draws: Tensor, size: int, mirrored: Tensor | None = None) -> Tensor:
    """Crop each image at a random area, aspect ratio and position, and resize the crop bilinearly.

    The distribution is that of torchvision's RandomResizedCrop (Szegedy et al. 2015), with one grid sample per batch.

    Args:
        canvas: Images, float32 (N, C, R, R).
        draws: Uniform numbers (N, 4) of area, aspect ratio and the two offsets.
        size: Side of the crops, pixels.
        mirrored: Which crops are mirrored, bool (N,); None for none.

    Returns:
        Crops (N, C, size, size).
    """
    area = CROP_SCALE[0] + draws[:, 0] * (CROP_SCALE[1] - CROP_SCALE[0])
    ratio = (CROP_LOG_RATIO[0] + draws[:, 1] * (CROP_LOG_RATIO[1] - CROP_LOG_RATIO[0])).exp()
    width, height = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    # Without rotation, rows and columns suffice; `affine_grid` multiplies matrices, which takes far longer.
    centers = (2 * torch.arange(size, device=canvas.device) + 1) / size - 1
    x = _turned(width[:, None] * centers + ((2 * draws[:, 2] - 1) * (1 - width))[:, None], mirrored)
    y = height[:, None] * centers + ((2 * draws[:, 3] - 1) * (1 - height))[:, None]
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=3)
    return F.grid_sample(canvas, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _turned(columns: Tensor, mirrored: Tensor | None) -> Tensor:
    """Reverse the columns (N, size) of the mirrored images."""
    return columns if mirrored is None else torch.where(mirrored[:, None], columns.flip(1), columns)
