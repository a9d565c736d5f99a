"""Decoded images of a study, found in the cache of its workspace, for people to look at."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..preprocessing import RGB, Preprocessing


@dataclass(frozen=True)
class Gallery:
    """Decoded images with names and sizes of their files.

    Attributes:
        names: Names of all images, by row of ``canvas``.
        canvas: Canvases, uint8 (N, R, R, C), a read-only memory map.
        labels: Labels, int64 (N,).
        test: Rows of the test split, ascending int64: test image i of a final is ``canvas[test[i]]``.
        pixels: Width and height of each file, int64 (N, 2); None where the cache does not have them.
    """

    names: tuple[str, ...]
    canvas: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    pixels: np.ndarray | None

    def holds(self, labels: np.ndarray) -> bool:
        """Whether the test images have these labels, in this order."""
        return np.array_equal(self.labels[self.test], labels)


def find_gallery(
    fingerprint: str, *, cache_dir: Path, seed: int, preprocessing: Preprocessing | None = None
) -> Gallery | None:
    """Find the images of a dataset in the cache of :func:`decode_once`.

    Nothing is decoded, and the dataset itself is not needed.

    Args:
        fingerprint: Fingerprint of the dataset.
        cache_dir: Folder of decoded images.
        seed: Seed of the splits.
        preprocessing: Preprocessing whose geometry the images must have; None for any.

    Returns:
        The images; None if the cache no longer has them.
    """
    geometry = None if preprocessing is None else preprocessing.geometry
    found = (_opened(folder, seed) for folder in _decoded(cache_dir, fingerprint, geometry))
    return next((gallery for gallery in found if gallery is not None), None)


def visible(canvas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The first three channels of an image (..., C) as color, for people to look at; fewer are made up to three."""
    return canvas[..., [min(place, canvas.shape[-1] - 1) for place in range(RGB)]]


def _decoded(cache_dir: Path, fingerprint: str, geometry: list[Any] | None) -> Iterator[Path]:
    """Folders with these images, the latest first; they differ in geometry, not in contents and splits."""
    manifests = sorted(cache_dir.glob("*/manifest.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    for manifest in manifests:
        known = _read(manifest)
        if known is None or known.get("fingerprint") != fingerprint:
            continue
        if geometry is None or known.get("geometry") == geometry:
            yield manifest.parent


def _opened(folder: Path, seed: int) -> Gallery | None:
    manifest, splits = _read(folder / "manifest.json"), _read(folder / f"splits-{seed}.json")
    if manifest is None or splits is None:
        return None
    try:
        canvas = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    pixels = manifest.get("pixels")
    return Gallery(
        names=tuple(manifest["names"]),
        canvas=canvas,
        labels=np.array(manifest["labels"], dtype=np.int64),
        test=np.array(splits["test"], dtype=np.int64),
        pixels=None if pixels is None else np.array(pixels, dtype=np.int64).reshape(-1, 2),
    )


def _read(file: Path) -> dict[str, Any] | None:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
