"""The array file of a dataset's canvases, written one canvas at a time, with a checksum in a file beside it."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..preprocessing import RGB
from .json_files import read_json, write_json
from .listing import Item


def write_canvases(
    file: Path, items: Sequence[Item], canvases: Iterable[np.ndarray | str], side: int, channels: int = RGB
) -> dict[str, str]:
    """Append the canvases to an array file and return the skipped items with their reasons."""
    skipped: dict[str, str] = {}
    checksum = 0
    with file.open("wb") as stream:
        _write_header(stream, (len(items), side, side, channels))
        start = stream.tell()
        for item, canvas in zip(items, canvases, strict=True):
            if isinstance(canvas, str):
                skipped[item.name] = canvas
            else:
                content = np.ascontiguousarray(canvas).data
                stream.write(content)
                checksum = zlib.crc32(content, checksum)
        stream.seek(0)
        _write_header(stream, (len(items) - len(skipped), side, side, channels))
        if stream.tell() != start:
            raise RuntimeError("NumPy's header changed its length with the number of rows")
        stream.flush()
        os.fsync(stream.fileno())
    _seal(file, checksum)
    return skipped


def read_canvases(file: Path) -> np.ndarray | None:
    """Return the canvases, uint8 (N, R, R, C), a read-only memory map; None if they are not what was written.

    The content is compared with its CRC-32 only if the file's size or times are not those that it was written with, as
    after a copy or a repair of the disk.
    """
    try:
        canvas = np.load(file, mmap_mode="r", allow_pickle=False)
        stamp = _stamp(file)
    except (OSError, ValueError, EOFError):
        return None
    seal = read_json(_seal_of(file))
    # Earlier versions wrote none.
    if seal is None or seal["stamp"] == stamp:
        return canvas
    if seal["checksum"] != zlib.crc32(canvas.data):
        return None
    # A workspace that cannot be written is compared each time.
    with suppress(OSError):
        _seal(file, seal["checksum"])
    return canvas


def _seal(file: Path, checksum: int) -> None:
    write_json(_seal_of(file), {"checksum": checksum, "stamp": _stamp(file)})


def _seal_of(file: Path) -> Path:
    return file.with_suffix(".json")


def _stamp(file: Path) -> list[int]:
    """Return size, modification time and change time."""
    stat = file.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _write_header(stream: Any, shape: tuple[int, ...]) -> None:
    """Write the header in place: NumPy pads it for any number of rows."""
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
