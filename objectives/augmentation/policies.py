"""Random augmentation policies: which operation an image gets, and how much of it, from uniform draws.

TrivialAugment (Müller & Hutter 2021): one operation, its magnitude drawn over wide ranges; nothing to tune.
RandAugment (Cubuk et al. 2020): some operations one after another, all at one magnitude. Operations, ranges and bins as
in torchvision's TrivialAugmentWide and RandAugment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from torch import Tensor

from ..config import TrialConfig
from .ops import NAMES, apply_ops

# Magnitudes are drawn from so many equally spaced ones.
BINS = 31
# Uniform numbers that one operation takes: which one, its magnitude, its sign.
DRAWS_PER_OP = 3
_SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")


def wide_ranges(size: int) -> Mapping[str, tuple[float, float]]:
    """TrivialAugment's: weakest and strongest magnitude of each operation that has one."""
    return _ranges(shear=0.99, translate=32.0, rotate=135.0, enhance=0.99, bits=2.0)


def standard_ranges(size: int) -> Mapping[str, tuple[float, float]]:
    """RandAugment's, for images of a side."""
    return _ranges(shear=0.3, translate=150.0 / 331.0 * size, rotate=30.0, enhance=0.9, bits=4.0)


def _ranges(
    *, shear: float, translate: float, rotate: float, enhance: float, bits: float
) -> dict[str, tuple[float, float]]:
    return {
        **dict.fromkeys(("shear_x", "shear_y"), (0.0, shear)),
        **dict.fromkeys(("translate_x", "translate_y"), (0.0, translate)),
        "rotate": (0.0, rotate),
        **dict.fromkeys(("brightness", "color", "contrast", "sharpness"), (0.0, enhance)),
        "posterize": (8.0, bits),
        "solarize": (255.0, 0.0),
    }


_RANGES = {"wide": wide_ranges, "standard": standard_ranges}


@cache
def magnitude_table(ranges: str, size: int) -> Tensor:
    """Magnitudes float32 (operations, bins) without their signs."""
    spans = _RANGES[ranges](size)
    table = torch.stack([torch.linspace(*spans.get(name, (0.0, 0.0)), BINS) for name in NAMES])
    table[NAMES.index("posterize")].round_()
    return table


@dataclass(frozen=True)
class RandomOps:
    """A policy.

    Attributes:
        ranges: Of the magnitudes: ``wide`` or ``standard``.
        count: Operations one after another.
        magnitude: Bin of all magnitudes, 0 to 30; None draws one each time.
    """

    ranges: Literal["wide", "standard"]
    count: int = 1
    magnitude: int | None = None

    @property
    def draws(self) -> int:
        """Uniform numbers that an image takes."""
        return DRAWS_PER_OP * self.count

    def apply(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Augment uint8 (N, 3, S, S) by uniform draws (N, ``self.draws``) on the CPU."""
        for own in draws.split(DRAWS_PER_OP, dim=1):
            pixels = apply_ops(pixels, *self.choose(own, pixels.shape[-1]))
        return pixels

    def choose(self, draws: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Operations int64 (N,) and signed magnitudes float32 (N,) from draws (N, 3)."""
        ops = (draws[:, 0] * len(NAMES)).long()
        bins = (draws[:, 1] * BINS).long() if self.magnitude is None else torch.full_like(ops, self.magnitude)
        signed = torch.tensor([name in _SIGNED for name in NAMES])[ops]
        magnitudes = magnitude_table(self.ranges, size)[ops, bins]
        return ops, torch.where(signed & (draws[:, 2] < 0.5), -magnitudes, magnitudes)


def random_ops(config: TrialConfig) -> RandomOps | None:
    """The operations of a configuration's augmentation policy, if it has any."""
    if config.augmentation == "trivial":
        return RandomOps("wide")
    if config.augmentation == "randaugment":
        return RandomOps("standard", config.randaugment_ops, config.randaugment_magnitude)
    return None
