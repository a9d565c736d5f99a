"""How an image becomes what the network was trained to see: sizes and statistics from the weights' own transforms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torchvision.models import get_model_weights

# Below this side no backbone gives meaningful features.
SMALLEST_IMAGE = 16
# For checks that come before the weights' own size is known.
DEFAULT_SIZE = 224


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


def preprocessing_for(backbone: str, weights: str, image_size: int | None = None) -> Preprocessing:
    """The evaluation transform that belongs to a backbone's weights.

    Args:
        backbone: Name of a torchvision classification model.
        weights: A torchvision weights name (``"IMAGENET1K_V2"``, ``"DEFAULT"``); for a local file or
            ``"none"`` the transform of the model's first published weights is taken, since that is the
            recipe that retrained files follow.
        image_size: Another side than the weights' own, pixels; the ratio of resize to crop is kept.
    """
    published = get_model_weights(backbone)
    entry = published[weights] if weights in published.__members__ else next(iter(published))
    preset: Any = entry.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    if image_size is not None:
        crop, resize = image_size, round(image_size * resize / crop)
    return Preprocessing(
        image_size=crop,
        resize_size=max(crop, resize),
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
