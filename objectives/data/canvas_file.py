"""The array file of a dataset's canvases, written one canvas at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .listing import Item


def write_canvases(
    file: Path, items: Sequence[Item], canvases: Iterable[np.ndarray | str], side: int
) -> dict[str, str]:
    """Append the canvases to an array file and return the skipped items with their reasons."""
    skipped: dict[str, str] = {}
    with file.open("wb") as stream:
        _write_header(stream, len(items), side)
        start = stream.tell()
        for item, canvas in zip(items, canvases, strict=True):
            if isinstance(canvas, str):
                skipped[item.name] = canvas
            else:
                stream.write(np.ascontiguousarray(canvas).data)
        stream.seek(0)
        _write_header(stream, len(items) - len(skipped), side)
        if stream.tell() != start:
            raise RuntimeError("NumPy's header changed its length with the number of rows")
        stream.flush()
        os.fsync(stream.fileno())
    return skipped


def _write_header(stream: Any, rows: int, side: int) -> None:
    """Write the header in place: NumPy pads it for any number of rows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": (rows, side, side, 3)}
    np.lib.format.write_array_header_1_0(stream, header)
