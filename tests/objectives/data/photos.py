"""Pictures with detail at all scales, no two alike, and files that show the same picture."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

SIDE = 72


def photo(rng: np.random.Generator) -> Image.Image:
    """Noise of several scales, the coarse ones strongest, as in photos."""
    pixels = np.zeros((SIDE, SIDE, 3))
    for cells in (3, 6, 12, 24):
        noise = rng.normal(size=(cells, cells, 3)).clip(-3, 3)
        layer = Image.fromarray(((noise + 3) * 42).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        pixels += (np.asarray(layer, dtype=float) - 126) / cells
    return Image.fromarray((126 + 2.5 * pixels).clip(0, 255).astype(np.uint8))


def photos(count: int, seed: int = 0) -> list[Image.Image]:
    rng = np.random.default_rng(seed)
    return [photo(rng) for _ in range(count)]


def canvases(images: list[Image.Image]) -> NDArray[np.uint8]:
    """As a dataset holds them."""
    return np.stack(
        [np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in images]
    )


def color_shares(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features that cropping hardly changes: the share of each of 512 colors, float32 (N, 512)."""
    codes = (images // 32).reshape(len(images), -1, 3).astype(np.int64) @ np.array([64, 8, 1])
    return np.stack([np.bincount(row, minlength=512) for row in codes]).astype(np.float32)


def encoded(image: Image.Image, quality: int = 40) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded": encoded,
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "mirrored": ImageOps.mirror,
    "cropped": lambda image: image.crop((4, 1, 4 + round(0.9 * image.width), 1 + round(0.9 * image.height))),
}
