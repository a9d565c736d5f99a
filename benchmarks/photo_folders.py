"""Folders of class folders for benchmarks: real photos of several sets in one, and made-up JPEGs of a camera's size."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

SETS = ("flowers", "garments_small")
_GRAINS = 16


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
    """Made-up JPEGs of ``side`` x 3/4 ``side`` pixels, all different: colored patches and grain.

    Args:
        folder: Folder to make.
        count: Number of files.
        side: Longer side, pixels.
        classes: Number of class folders.
    """
    rng = np.random.default_rng(0)
    width, height = side, 3 * side // 4
    grains = [rng.normal(0, 12, (height, width, 1)).astype(np.float32) for _ in range(_GRAINS)]
    for label in range(classes):
        (folder / f"class{label}").mkdir(parents=True)
    for place in range(count):
        patches = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(patches.resize((width, height), Image.Resampling.BICUBIC))
        pixels = (smooth + grains[place % _GRAINS]).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"class{place % classes}" / f"{place}.jpg", quality=90)
    return folder
