"""Image operations of the random augmentation policies, each on a group of images with one magnitude per image.

Names, order and pixels are those of torchvision's TrivialAugmentWide and RandAugment on uint8 images (bilinear
interpolation as in its training recipes, black outside the image), for whole batches at once. They use only elementwise
arithmetic, exact sums and one grid sample, so the result of an image does not depend on its group.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor

Geometric = Callable[[Tensor, int], Tensor]
"""Maps magnitudes (N,) and the image side to matrices (N, 2, 3): the source of a pixel, in pixels from the center."""
Photometric = Callable[[Tensor, Tensor], Tensor]
"""Maps pixels uint8 (N, 3, S, S) and magnitudes (N,) to pixels uint8 of the same shape."""


def shear_x(magnitudes: Tensor, size: int) -> Tensor:
    """Shear rows: each moves by the magnitude times its distance from the top."""
    return _matrices(1.0, magnitudes, magnitudes * (size / 2), 0.0, 1.0, 0.0)


def shear_y(magnitudes: Tensor, size: int) -> Tensor:
    """Shear columns: each moves by the magnitude times its distance from the left."""
    return _matrices(1.0, 0.0, 0.0, magnitudes, 1.0, magnitudes * (size / 2))


def translate_x(magnitudes: Tensor, size: int) -> Tensor:
    """Move to the right by whole pixels."""
    return _matrices(1.0, 0.0, -magnitudes.trunc(), 0.0, 1.0, 0.0)


def translate_y(magnitudes: Tensor, size: int) -> Tensor:
    """Move down by whole pixels."""
    return _matrices(1.0, 0.0, 0.0, 0.0, 1.0, -magnitudes.trunc())


def rotate(magnitudes: Tensor, size: int) -> Tensor:
    """Rotate counterclockwise about the center, in degrees."""
    angles = torch.deg2rad(magnitudes)
    return _matrices(angles.cos(), -angles.sin(), 0.0, angles.sin(), angles.cos(), 0.0)


def _matrices(*entries: Tensor | float) -> Tensor:
    """Matrices (N, 2, 3) of six entries, row by row; a number stands for all N."""
    count = next(len(entry) for entry in entries if isinstance(entry, Tensor))
    columns = [entry if isinstance(entry, Tensor) else torch.full((count,), entry) for entry in entries]
    return torch.stack(columns, dim=1).reshape(count, 2, 3)


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Take every pixel of uint8 (N, 3, S, S) from where its image's matrix (N, 2, 3) points; black from outside."""
    size = pixels.shape[-1]
    span = torch.arange(size, device=pixels.device) - (size - 1) / 2
    entries = matrices.to(pixels.device)[..., None, None]
    # Elementwise: the rounding of a matrix product may depend on the batch size.
    rows = (entries[:, row, 0] * span + entries[:, row, 1] * span[:, None] + entries[:, row, 2] for row in (0, 1))
    grid = torch.stack(list(rows), dim=-1) / (size / 2)
    warped = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.round_().byte()


def brightness(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Scale all levels by 1 + magnitude."""
    return _away_from(torch.zeros((), device=pixels.device), pixels, magnitudes)


def color(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Scale the distance from the gray image by 1 + magnitude."""
    return _away_from(_gray(pixels), pixels, magnitudes)


def contrast(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Scale the distance from the mean gray level by 1 + magnitude."""
    # A sum of integers is exact in any order.
    total = _gray(pixels).long().sum(dim=(1, 2, 3), keepdim=True)
    return _away_from(total.float() / pixels.shape[-1] ** 2, pixels, magnitudes)


def sharpness(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Scale the distance from Pillow's SMOOTH filter (weights 1, the center 5) by 1 + magnitude; border pixels stay."""
    blurred = pixels.float()
    total = blurred[..., :-2, :] + blurred[..., 1:-1, :]
    total += blurred[..., 2:, :]
    total = (total[..., :-2] + total[..., 1:-1]).add_(total[..., 2:])
    inner = blurred[..., 1:-1, 1:-1]
    inner.copy_(total.add_(4 * inner).div_(13).round_())
    return _away_from(blurred, pixels, magnitudes)


def _away_from(other: Tensor, pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """(1 + magnitude) pixels - magnitude other: the other image at -1, extrapolation above 0, truncated to whole
    levels.
    """
    share = magnitudes[:, None, None, None]
    return ((1 + share) * pixels).sub_(share * other).clamp_(0, 255).byte()


def _gray(pixels: Tensor) -> Tensor:
    """Luminance (ITU-R 601) in whole levels, float32 (N, 1, S, S)."""
    red, green, blue = pixels.float().split(1, dim=1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()


def posterize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Keep the highest bits of each level; the magnitude is their number, out of 8.

    >>> import torch
    >>> from frostline.objectives.augmentation.ops import posterize
    >>> posterize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), torch.tensor([2.0])).flatten().tolist()
    [192, 192, 192]
    """
    dropped = torch.exp2(8 - magnitudes).round().int()
    return pixels & (256 - dropped).to(torch.uint8)[:, None, None, None]


def solarize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Invert the levels from the magnitude on.

    >>> import torch
    >>> from frostline.objectives.augmentation.ops import solarize
    >>> levels = torch.tensor([10, 128, 250], dtype=torch.uint8).reshape(1, 3, 1, 1)
    >>> solarize(levels, torch.tensor([128.0])).flatten().tolist()
    [10, 127, 5]
    """
    return torch.where(pixels >= magnitudes[:, None, None, None], 255 - pixels, pixels)


def auto_contrast(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Stretch the levels of each channel to 0 ... 255; the magnitude has no effect."""
    return TF.autocontrast(pixels)


def equalize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Equalize the histogram of each channel; the magnitude has no effect."""
    return TF.equalize(pixels)


GEOMETRIC: dict[str, Geometric] = {
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
    "rotate": rotate,
}
PHOTOMETRIC: dict[str, Photometric] = {
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
}
NAMES = ("identity", *GEOMETRIC, *PHOTOMETRIC)


def apply_ops(pixels: Tensor, ops: Tensor, magnitudes: Tensor) -> Tensor:
    """Apply one operation to each image.

    Args:
        pixels: Images, uint8 (N, 3, S, S).
        ops: Index into ``NAMES`` for each image, int64 (N,), on the CPU, so that grouping does not wait for the device.
        magnitudes: Magnitude for each image, float32 (N,), on the CPU, in the operation's own unit.

    Returns:
        Images, uint8 (N, 3, S, S), a new tensor.

    Example:
        >>> import torch
        >>> from frostline.objectives.augmentation.ops import NAMES, apply_ops
        >>> pixels = torch.full((1, 3, 2, 2), 200, dtype=torch.uint8)
        >>> ops = torch.tensor([NAMES.index("brightness")])
        >>> apply_ops(pixels, ops, torch.tensor([-0.5])).unique().tolist()
        [100]
    """
    size = pixels.shape[-1]
    result = pixels.clone(memory_format=torch.contiguous_format)
    matrices = torch.empty(len(pixels), 2, 3)
    moved = torch.zeros(len(pixels), dtype=torch.bool)
    for number, name in enumerate(NAMES):
        members = (ops == number).nonzero().squeeze(1)
        if not len(members):
            continue
        if name in GEOMETRIC:
            matrices[members] = GEOMETRIC[name](magnitudes[members], size)
            moved[members] = True
        elif name in PHOTOMETRIC:
            there = members.to(pixels.device)
            result[there] = PHOTOMETRIC[name](result[there], magnitudes[members].to(pixels.device))
    if moved.any():
        there = moved.nonzero().squeeze(1).to(pixels.device)
        result[there] = warp(result[there], matrices[moved])
    return result
