"""Folders of class folders for benchmarks: real photos of several sets in one, and made-up JPEGs of a camera's size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

SETS = ("flowers", "garments_small")
_DISTINCT = 64


def link_photos(source: Path, folder: Path, count: int) -> Path:
    """Links to photos of several sets, without their splits: one folder a class.

    Args:
        source: Folder of the sets, each with ``train`` and ``test``.
        folder: Folder to make.
        count: Number of photos, evenly from all classes.

    Raises:
        SystemExit: There are too few.
    """
    photos = [file for name in SETS for file in sorted((source / name).glob("*/*/*.jpg"))]
    if len(photos) < count:
        raise SystemExit(f"{source} has {len(photos)} photos in {' and '.join(SETS)}; {count} are needed.")
    for place in np.linspace(0, len(photos) - 1, count).round().astype(int):
        file = photos[place]
        link = folder / file.parent.name / f"{file.parent.parent.name}-{file.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(file.resolve(), link)
    return folder


def write_jpegs(folder: Path, count: int, side: int = 500, classes: int = 10) -> Path:
    """Made-up JPEGs of ``side`` x 3/4 ``side`` pixels, all different: smooth noise, of the detail of a photo.

    Args:
        folder: Folder to make.
        count: Number of files.
        side: Longer side, pixels.
        classes: Number of class folders.
    """
    rng = np.random.default_rng(0)
    shape = (3 * side // 4, side)
    bodies: list[Image.Image] = []
    for _ in range(_DISTINCT):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
            shape[::-1], Image.Resampling.BICUBIC
        )
        fine = rng.normal(0, 12, (*shape, 1))
        bodies.append(Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8)))
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
    for place in range(count):
        image = bodies[place % _DISTINCT].copy()
        # Files of equal bytes would be copies of one another.
        image.paste(tuple(rng.integers(0, 256, 3).tolist()), (0, 0, 16, 16))
        image.putpixel((20, 20), (place % 256, place // 256 % 256, 0))
        image.save(folder / f"class{place % classes}" / f"{place}.jpg", quality=90)
    return folder
