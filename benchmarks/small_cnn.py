"""A small convolutional network for 32-pixel images: five blocks of convolution, batch norm and ReLU."""

from __future__ import annotations

from typing import Any

from torch import nn

from frostline.objectives.preprocessing import Preprocessing

WIDTHS = (16, 32, 48, 64, 64)


def _block(width_in: int, width_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width_out),
        nn.ReLU(),
    )


def create(num_classes: int = 6) -> nn.Sequential:
    """The network: (N, 3, 32, 32) to logits (N, num_classes)."""
    widths = (3, *WIDTHS)
    blocks = [_block(*pair, stride=2 if place else 1) for place, pair in enumerate(zip(widths, WIDTHS, strict=False))]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], num_classes))


# Images are drawn at the size that it takes, so none is resized or cropped.
_factory: Any = create
_factory.preprocessing = Preprocessing(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
