"""Files of small photos: noise, no two alike, whose color may tell the class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def write_photos(
    root: Path,
    counts: Mapping[str, int],
    *,
    size: tuple[int, int] | Callable[[int], tuple[int, int]] = (20, 20),
    top: int = 256,
    tint: int = 0,
    channels: Mapping[str, int] | None = None,
    name: Callable[[int], str] = lambda number: f"{number}.png",
    draw: np.random.Generator | None = None,
) -> Path:
    """Write photos into folders, which are made; return their root.

    Args:
        root: Folder above.
        counts: Number of photos of each folder below it.
        size: Height and width; of the photo of a number, if they differ.
        top: Values of the noise are below it.
        tint: What is added to one channel.
        channels: That channel, by the name of the folder; none of other folders.
        name: File name of the photo of a number.
        draw: Source of the noise; a new one of seed 0 by default.
    """
    draw = np.random.default_rng(0) if draw is None else draw
    for folder, count in counts.items():
        target = root / folder
        target.mkdir(parents=True, exist_ok=True)
        channel = (channels or {}).get(target.name)
        for number in range(count):
            height, width = size(number) if callable(size) else size
            pixels = draw.integers(0, top, (height, width, 3), dtype=np.uint8)
            if channel is not None:
                pixels[..., channel] += tint
            Image.fromarray(pixels).save(target / name(number))
    return root


def in_splits(counts: Mapping[str, int], classes: Iterable[str]) -> dict[str, int]:
    """The counts of class folders below folders of splits, from those of each split."""
    classes = tuple(classes)
    return {f"{split}/{each}": count for split, count in counts.items() for each in classes}


def write_look_alikes(root: Path, classes: tuple[str, ...]) -> Path:
    """Photos of classes in splits, of which two each look alike: some are mistaken."""
    return write_photos(
        root,
        in_splits({"train": 6, "val": 4, "test": 5}, classes),
        size=lambda number: (40 + 5 * number, 50),
        top=200,
        tint=50,
        channels={name: label // 2 for label, name in enumerate(classes)},
        name=lambda number: f"{number}.jpg",
    )
