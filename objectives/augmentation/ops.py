"""Image operations of the random augmentation policies, each on a group of images with a magnitude per image.

Names, order and pixels are those of torchvision's TrivialAugmentWide and RandAugment on uint8 images (bilinear
interpolation as in its training recipes, black outside), for whole batches at once. Only elementwise arithmetic, exact
sums and one grid sample are used, so what becomes of an image does not depend on the others in its group.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as TF
from torch import Tensor

Geometric = Callable[[Tensor, int], Tensor]
"""Magnitudes (N,) and the images' side to matrices (N, 2, 3): where a pixel comes from, in pixels from the centre."""
Photometric = Callable[[Tensor, Tensor], Tensor]
"""Pixels uint8 (N, 3, S, S) and magnitudes (N,) to pixels uint8."""


def shear_x(magnitudes: Tensor, size: int) -> Tensor:
    """Rows move by this times their distance from the top."""
    return _matrices(1.0, magnitudes, magnitudes * (size / 2), 0.0, 1.0, 0.0)


def shear_y(magnitudes: Tensor, size: int) -> Tensor:
    """Columns move by this times their distance from the left."""
    return _matrices(1.0, 0.0, 0.0, magnitudes, 1.0, magnitudes * (size / 2))


def translate_x(magnitudes: Tensor, size: int) -> Tensor:
    """To the right by whole pixels."""
    return _matrices(1.0, 0.0, -magnitudes.trunc(), 0.0, 1.0, 0.0)


def translate_y(magnitudes: Tensor, size: int) -> Tensor:
    """Down by whole pixels."""
    return _matrices(1.0, 0.0, 0.0, 0.0, 1.0, -magnitudes.trunc())


def rotate(magnitudes: Tensor, size: int) -> Tensor:
    """Counter-clockwise by degrees, about the centre."""
    angles = torch.deg2rad(magnitudes)
    return _matrices(angles.cos(), -angles.sin(), 0.0, angles.sin(), angles.cos(), 0.0)


def _matrices(*entries: Tensor | float) -> Tensor:
    """Matrices (N, 2, 3) of six entries, row by row; numbers hold for all."""
    count = next(len(entry) for entry in entries if isinstance(entry, Tensor))
    columns = [entry if isinstance(entry, Tensor) else torch.full((count,), entry) for entry in entries]
    return torch.stack(columns, dim=1).reshape(count, 2, 3)


def warp(pixels: Tensor, matrices: Tensor) -> Tensor:
    """Fetch every pixel of uint8 (N, 3, S, S) from where its image's matrix (N, 2, 3) says, black from outside."""
    size = pixels.shape[-1]
    span = torch.arange(size, device=pixels.device) - (size - 1) / 2
    entries = matrices.to(pixels.device)[..., None, None]
    # Elementwise and not by a product of matrices, whose rounding may depend on how many there are.
    rows = (entries[:, row, 0] * span + entries[:, row, 1] * span[:, None] + entries[:, row, 2] for row in (0, 1))
    grid = torch.stack(list(rows), dim=-1) / (size / 2)
    warped = F.grid_sample(pixels.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return warped.round_().byte()


def brightness(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    return _away_from(torch.zeros((), device=pixels.device), pixels, magnitudes)


def color(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    return _away_from(_grey(pixels), pixels, magnitudes)


def contrast(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    # Summed as whole numbers: exact in any order.
    total = _grey(pixels).long().sum(dim=(1, 2, 3), keepdim=True)
    return _away_from(total.float() / pixels.shape[-1] ** 2, pixels, magnitudes)


def sharpness(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Against Pillow's SMOOTH filter (weights 1, the centre 5); the outermost pixels stay as they are."""
    blurred = pixels.float()
    total = blurred[..., :-2, :] + blurred[..., 1:-1, :]
    total += blurred[..., 2:, :]
    total = (total[..., :-2] + total[..., 1:-1]).add_(total[..., 2:])
    inner = blurred[..., 1:-1, 1:-1]
    inner.copy_(total.add_(4 * inner).div_(13).round_())
    return _away_from(blurred, pixels, magnitudes)


def _away_from(other: Tensor, pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """(1 + magnitude) pixels - magnitude other: for -1 the other image, beyond 0 extrapolated, cut to whole levels."""
    share = magnitudes[:, None, None, None]
    return ((1 + share) * pixels).sub_(share * other).clamp_(0, 255).byte()


def _grey(pixels: Tensor) -> Tensor:
    """Luminance (ITU-R 601) in whole levels, float32 (N, 1, S, S)."""
    red, green, blue = pixels.float().split(1, dim=1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue).floor()


def posterize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Keep so many of the 8 bits."""
    dropped = torch.exp2(8 - magnitudes).round().int()
    return pixels & (256 - dropped).to(torch.uint8)[:, None, None, None]


def solarize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    """Invert the levels from this one on."""
    return torch.where(pixels >= magnitudes[:, None, None, None], 255 - pixels, pixels)


def auto_contrast(pixels: Tensor, magnitudes: Tensor) -> Tensor:
    return TF.autocontrast(pixels)


def equalize(pixels: Tensor, magnitudes: Tensor) -> Tensor:
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
    """Apply to each image one operation.

    Args:
        pixels: uint8 (N, 3, S, S).
        ops: int64 (N,), places in ``NAMES``, on the CPU, where grouping by them makes no device wait.
        magnitudes: float32 (N,) on the CPU, in the unit of each operation.
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
