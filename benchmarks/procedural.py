"""Images whose classes follow from their construction: shapes, textures, and changes of the input.

All images are float32 (N, 32, 32, 3) in [0, 1] from a NumPy generator; nothing is read from disk.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

SIZE = 32
Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Grid = NDArray[np.float64]

SHAPES: dict[str, Callable[[Grid, Grid], NDArray[np.bool_]]] = {
    "disc": lambda u, v: u**2 + v**2 < 0.8,
    "ring": lambda u, v: (u**2 + v**2 < 1.0) & (u**2 + v**2 > 0.35),
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.8,
    "triangle": lambda u, v: (v > -0.55) & (v < 1.0 - 1.9 * abs(u)),
    "cross": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.28) & (np.maximum(abs(u), abs(v)) < 1.0),
    "bar": lambda u, v: (abs(u) < 0.3) & (abs(v) < 1.1),
}
# Brightness over pixel coordinates, in [0, 1].
TEXTURES: dict[str, Callable[[Grid, Grid], Grid]] = {
    "plain": lambda x, y: np.full_like(x, 0.5),
    "stripes": lambda x, y: (np.sin(1.6 * x) > 0).astype(float),
    "wide stripes": lambda x, y: (np.sin(0.7 * x) > 0).astype(float),
    "checks": lambda x, y: (np.sin(1.1 * x) * np.sin(1.1 * y) > 0).astype(float),
    "dots": lambda x, y: ((np.sin(1.3 * x) > 0.3) & (np.sin(1.3 * y) > 0.3)).astype(float),
    "ramp": lambda x, y: 0.5 + 0.5 * np.tanh(x / 6.0),
}
# Of a veil: orthonormal directions of color, and how strongly each is filled. The first is the picture's.
DIRECTIONS = np.array([[2, 2, -1], [-1, 2, 2], [2, -1, 2]], dtype=np.float32) / 3
STRENGTHS = np.array([0.06, 0.75, 0.75], dtype=np.float32)


def draw(
    shapes: Labels, textures: Labels, rng: np.random.Generator, *, radius: tuple[float, float] = (8.0, 13.0)
) -> Images:
    """A textured shape a picture, at random place, size, angle and colors, on a noisy ground.

    Args:
        shapes: Of each image (N,), positions in :data:`SHAPES`.
        textures: Of each image (N,), positions in :data:`TEXTURES`.
        rng: Of everything else.
        radius: Smallest and largest, pixels.
    """
    images = np.stack([_draw_one(shape, texture, rng, radius) for shape, texture in zip(shapes, textures, strict=True)])
    return np.clip(images + rng.normal(0, 0.04, images.shape), 0, 1).astype(np.float32)


def _draw_one(shape: int, texture: int, rng: np.random.Generator, radius: tuple[float, float]) -> Grid:
    size = rng.uniform(*radius)
    center = rng.uniform(size, SIZE - size, 2) if size < SIZE / 2 else np.full(2, SIZE / 2)
    x, y = np.meshgrid(np.arange(SIZE) - center[0], np.arange(SIZE) - center[1])
    inside = list(SHAPES.values())[shape](*(axis / size for axis in _turn(x, y, rng)))
    brightness = list(TEXTURES.values())[texture](*_turn(x + rng.uniform(0, 9), y + rng.uniform(0, 9), rng))
    ground, dark, light = rng.uniform(0.0, 0.35, 3), rng.uniform(0.35, 0.6, 3), rng.uniform(0.75, 1.0, 3)
    filled = dark + (light - dark) * brightness[..., None]
    return np.where(inside[..., None], filled, ground)


def _turn(x: Grid, y: Grid, rng: np.random.Generator) -> tuple[Grid, Grid]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def shaped(count: int, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Classes are shapes; the texture says nothing."""
    labels = np.arange(count) % len(SHAPES)
    return draw(labels, rng.integers(len(TEXTURES), size=count), rng), labels


def papered(count: int, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Classes are textures that fill the picture: there is no shape, and no edge of one."""
    labels = np.arange(count) % len(TEXTURES)
    squares = np.full(count, list(SHAPES).index("square"))
    return draw(squares, labels, rng, radius=(1.25 * SIZE, 1.25 * SIZE)), labels


def noise(count: int, rng: np.random.Generator) -> tuple[Images, Labels]:
    """Noise with labels drawn by lot: there is nothing to learn."""
    return rng.random((count, SIZE, SIZE, 3), dtype=np.float32), rng.integers(len(SHAPES), size=count)


def regrouped(data: tuple[Images, Labels]) -> tuple[Images, Labels]:
    """Other names for the same things: classes are put together in pairs."""
    images, labels = data
    return images, labels % (len(SHAPES) // 2)


def recolored(data: tuple[Images, Labels]) -> tuple[Images, Labels]:
    """The input is corrupted in a way that the first layer alone could undo: channels are mixed and inverted."""
    mixing = np.array([[-0.8, 0.5, 0.1], [0.4, -0.7, 0.5], [0.6, 0.3, -0.7]], dtype=np.float32)
    images, labels = data
    mixed = (images - 0.5) @ mixing.T * 1.2 + 0.5
    return np.clip(mixed, 0, 1).astype(np.float32), labels


def faded(data: tuple[Images, Labels]) -> tuple[Images, Labels]:
    """Contrast and brightness are elsewhere: what batch norms remember of the source no longer holds."""
    images, labels = data
    return (0.78 + 0.2 * images).astype(np.float32), labels


def veiled(data: tuple[Images, Labels], rng: np.random.Generator) -> tuple[Images, Labels]:
    """Brightness is moved to one faint direction of color; textures that say nothing fill the two others, strongly.

    A linear layer can lift the veil, for the directions are orthogonal and always the same, but it must be exact.
    """
    images, labels = data
    veils = [rng.permutation(papered(len(images), rng)[0]) for _ in range(2)]
    brightness = np.stack([each.mean(axis=-1) for each in (images, *veils)], axis=-1) - 0.6
    return np.clip(0.5 + brightness * STRENGTHS @ DIRECTIONS, 0, 1).astype(np.float32), labels
