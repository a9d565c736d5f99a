"""How an image becomes what the network was trained to see: its size and statistics."""

from __future__ import annotations

from dataclasses import dataclass

# Below this side no backbone gives meaningful features.
SMALLEST_IMAGE = 16
# For checks that come before the weights' own size is known.
DEFAULT_SIZE = 224

# Of ImageNet's training images (torchvision).
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """Evaluation transform of a backbone: resize the shorter side, crop the centre, scale to [0, 1], normalise.

    Attributes:
        image_size: Side of the square the network sees, pixels.
        resize_size: Shorter side after resizing, pixels; also the side of the stored canvas.
        interpolation: ``"bilinear"``, ``"bicubic"`` or ``"nearest"``; always antialiased where it applies.
        mean: Per channel (RGB), of values in [0, 1].
        std: Per channel (RGB), of values in [0, 1].
    """

    image_size: int
    resize_size: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
