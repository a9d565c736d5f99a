"""Preprocessing: image size and pixel statistics that a network was trained with."""

from __future__ import annotations

from dataclasses import dataclass

# Smallest side from which a backbone computes meaningful features, pixels.
MIN_IMAGE_SIZE = 16
# Largest side: an image takes 50 MB, and a layer of 64 channels 4 GB.
MAX_IMAGE_SIZE = 4096
# Side for checks before the weights' own size is known, pixels.
DEFAULT_SIZE = 224

# Statistics of ImageNet's training images, as in torchvision.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation transform of a backbone: resize the shorter side, crop the center, scale to [0, 1], normalize.

    Attributes:
        image_size: Side of the network's square input, pixels.
        resize_size: Shorter side after resizing and side of the stored canvas, pixels.
        interpolation: Interpolation of the resize: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``; antialiased where
            that applies.
        mean: Mean per channel (RGB) of values in [0, 1].
        std: Standard deviation per channel (RGB) of values in [0, 1].

    Example:
        >>> from frostline.objectives.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
        >>> Preprocessing(224, 256, "bilinear", IMAGENET_MEAN, IMAGENET_STD).resize_size
        256
    """

    image_size: int
    resize_size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
