"""Views of the images: augmentation that depends on (seed, image, view) alone, batched on the device.

View v of image i is the same picture whenever, in whatever batch and by whichever worker it is asked for. With K
views, epoch e sees view e mod K, so what a frozen prefix makes of them can be kept; unlimited augmentation is view e
in epoch e.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..preprocessing import Preprocessing
from .policies import RandomOps

# Area and aspect of a resized crop; milder than ImageNet training's (0.08, 1), which is meant for 300 epochs.
CROP_SCALE = (0.35, 1.0)
CROP_LOG_RATIO = (math.log(3 / 4), math.log(4 / 3))
_DRAWS = 5


class Views:
    """Turns stored canvases into what the network sees.

    Args:
        policy: ``none`` (the evaluation crop), ``crop`` (random position), ``flip_crop`` (and mirrored half the
            time), ``resized_crop`` (random area, aspect and position, mirrored half the time), ``trivial`` or
            ``randaugment`` (``flip_crop``, then the random operations).
        count: Distinct views; 0 for a new one each epoch. ``none`` has one.
        preprocessing: Sizes and statistics.
        images: How many images the split has.
        seed: Of the random draws.
        ops: The random operations of ``trivial`` and ``randaugment``, on pixels before they are normalised.
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
        """What the pixels of a view depend on, besides the stored images and the view's number."""
        return (self._preprocessing, self.policy, self._ops, None if self.policy == "none" else self._seed)

    def of_epoch(self, epoch: int) -> int:
        """Number of the view that an epoch (from 0) sees."""
        return epoch % self.count if self.count else epoch

    def apply(self, canvas: Tensor, positions: Tensor, view: int) -> Tensor:
        """Map canvases uint8 (N, 3, R, R) of the images at ``positions`` to normalised float32 (N, 3, S, S)."""
        if self.policy == "none":
            pixels = centre_crop(canvas, self._preprocessing.image_size).float()
        else:
            draws = self._draws(view)[positions.to("cpu")]
            pixels = self._augment(canvas, draws[:, :_DRAWS].to(canvas.device))
            if self._ops is not None:
                pixels = self._ops.apply(pixels.byte(), draws[:, _DRAWS:]).float()
        return self._normalise(pixels).contiguous(memory_format=torch.channels_last)

    def _draws(self, view: int) -> Tensor:
        """Uniform numbers (images, draws) of one view; the latest view is kept."""
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

    def _normalise(self, pixels: Tensor) -> Tensor:
        """In place: pixels are made for this."""
        mean, std = (
            torch.tensor(values, device=pixels.device)[:, None, None]
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )
        return pixels.div_(255).sub_(mean).div_(std)


def centre_crop(canvas: Tensor, size: int) -> Tensor:
    """The central (N, C, size, size), rounded as torchvision's ``center_crop`` does."""
    start = round((canvas.shape[-1] - size) / 2)
    return canvas[..., start : start + size, start : start + size]


def shifted_crop(canvas: Tensor, draws: Tensor, size: int, mirrored: Tensor | None = None) -> Tensor:
    """A crop (N, C, size, size) at whole-pixel offsets from uniform draws (N, 2), per image; mirrored where so (N,).

    Canvases with less room than an eighth of the size are padded by reflection first.
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
    """A crop of random area, aspect and place from uniform draws (N, 4), resized bilinearly to (N, C, size, size).

    The distribution is that of torchvision's RandomResizedCrop (Szegedy et al. 2015), by one grid sample a batch;
    mirrored where so (N,).
    """
    area = CROP_SCALE[0] + draws[:, 0] * (CROP_SCALE[1] - CROP_SCALE[0])
    ratio = (CROP_LOG_RATIO[0] + draws[:, 1] * (CROP_LOG_RATIO[1] - CROP_LOG_RATIO[0])).exp()
    width, height = (area * ratio).sqrt().clamp(max=1.0), (area / ratio).sqrt().clamp(max=1.0)
    # Rows and columns suffice where nothing is turned; `affine_grid` multiplies matrices, which takes far longer.
    centres = (2 * torch.arange(size, device=canvas.device) + 1) / size - 1
    x = _turned(width[:, None] * centres + ((2 * draws[:, 2] - 1) * (1 - width))[:, None], mirrored)
    y = height[:, None] * centres + ((2 * draws[:, 3] - 1) * (1 - height))[:, None]
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=3)
    return F.grid_sample(canvas, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _turned(columns: Tensor, mirrored: Tensor | None) -> Tensor:
    """Columns (N, size) from right to left for the images that are mirrored (N,)."""
    return columns if mirrored is None else torch.where(mirrored[:, None], columns.flip(1), columns)
