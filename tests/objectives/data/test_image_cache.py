"""What decoding costs: each file is opened once and each folder listed once, as Python's own audit events count."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from frostline.objectives.data import prepare_dataset

from ..tiny import PREPROCESSING
from .photos import photos

_counted: list[Counter[tuple[str, str]]] = []


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if _counted and event in ("open", "os.scandir", "os.listdir") and isinstance(arguments[0], str | os.PathLike):
        _counted[-1][event, os.fspath(arguments[0])] += 1


# There is no way to remove it.
sys.addaudithook(_count)


@contextmanager
def counting(folder: Path) -> Iterator[Counter[tuple[str, str]]]:
    """How often each file and folder below a folder is opened and listed within the block."""
    seen, below = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    _counted.append(seen)
    try:
        yield below
    finally:
        _counted.pop()
        below.update({key: times for key, times in seen.items() if key[1].startswith(str(folder))})


def test_an_unknown_dataset_is_read_and_listed_once(tmp_path: Path) -> None:
    data, pictures = tmp_path / "data", iter(photos(24))
    files = [data / name / f"{number}.png" for name in ("cat", "dog") for number in range(12)]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        next(pictures).save(file)
    with counting(data) as seen:
        prepare_dataset(str(data), PREPROCESSING, cache_dir=tmp_path / "cache", seed=0)
    # Looks for Parquet files, metadata and a dataset in a cache tell what the folder is.
    assert seen.pop(("os.listdir", str(data))) + seen.pop(("os.scandir", str(data))) == 5
    # The look for a cache ends at the first image of one class.
    assert sorted(seen.pop(("os.scandir", str(data / name))) for name in ("cat", "dog")) == [1, 2]
    assert seen == {("open", str(file)): 1 for file in files}
