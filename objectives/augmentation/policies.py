"""Random augmentation policies: the operation and magnitude of each image, from uniform draws.

TrivialAugment (Müller & Hutter 2021): one operation with a magnitude drawn from a wide range; no hyperparameters.
RandAugment (Cubuk et al. 2020): several operations in a row, all at one magnitude. Operations, ranges and bins are
those of torchvision's TrivialAugmentWide and RandAugment.
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

# Number of equally spaced magnitudes that are drawn from.
BINS = 31
# Uniform numbers per operation: for its choice, its magnitude and its sign.
DRAWS_PER_OP = 3
_SIGNED = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color", "contrast", "sharpness")


def wide_ranges(size: int) -> Mapping[str, tuple[float, float]]:
    """TrivialAugment's weakest and strongest magnitude of each operation that has one."""
    return _ranges(shear=0.99, translate=32.0, rotate=135.0, enhance=0.99, bits=2.0)


def standard_ranges(size: int) -> Mapping[str, tuple[float, float]]:
    """RandAugment's weakest and strongest magnitude of each operation that has one, for images of side ``size``."""
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
    """Magnitudes without signs, float32 (operations, bins).

    >>> from frostline.objectives.augmentation.ops import NAMES
    >>> from frostline.objectives.augmentation.policies import magnitude_table
    >>> magnitude_table("standard", 224)[NAMES.index("rotate"), [0, 15, 30]].tolist()
    [0.0, 15.0, 30.0]
    """
    spans = _RANGES[ranges](size)
    table = torch.stack([torch.linspace(*spans.get(name, (0.0, 0.0)), BINS) for name in NAMES])
    table[NAMES.index("posterize")].round_()
    return table


@dataclass(frozen=True)
class RandomOps:
    """A random augmentation policy.

    Attributes:
        ranges: Ranges of the magnitudes: ``wide`` or ``standard``.
        count: Number of operations in a row.
        magnitude: Bin of all magnitudes, 0 to 30; None draws one for each image and operation.
    """

    ranges: Literal["wide", "standard"]
    count: int = 1
    magnitude: int | None = None

    @property
    def draws(self) -> int:
        """Uniform numbers per image."""
        return DRAWS_PER_OP * self.count

    def apply(self, pixels: Tensor, draws: Tensor) -> Tensor:
        """Augment images uint8 (N, 3, S, S) by uniform draws (N, ``self.draws``) on the CPU."""
        for own in draws.split(DRAWS_PER_OP, dim=1):
            pixels = apply_ops(pixels, *self.choose(own, pixels.shape[-1]))
        return pixels

    def choose(self, draws: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Choose an operation and its magnitude for each image.

        Args:
            draws: Uniform numbers (N, 3).
            size: Side of the images, pixels.

        Returns:
            Operations int64 (N,) and signed magnitudes float32 (N,).
        """
        ops = (draws[:, 0] * len(NAMES)).long()
        bins = (draws[:, 1] * BINS).long() if self.magnitude is None else torch.full_like(ops, self.magnitude)
        signed = torch.tensor([name in _SIGNED for name in NAMES])[ops]
        magnitudes = magnitude_table(self.ranges, size)[ops, bins]
        return ops, torch.where(signed & (draws[:, 2] < 0.5), -magnitudes, magnitudes)


def random_ops(config: TrialConfig) -> RandomOps | None:
    """The random operations of a configuration's augmentation; None if it has none.

    >>> from frostline.objectives.augmentation import random_ops
    >>> from frostline.objectives.config import TrialConfig
    >>> random_ops(TrialConfig(strategy="full", augmentation="randaugment"))
    RandomOps(ranges='standard', count=2, magnitude=9)
    """
    if config.augmentation == "trivial":
        return RandomOps("wide")
    if config.augmentation == "randaugment":
        return RandomOps("standard", config.randaugment_ops, config.randaugment_magnitude)
    return None
