"""What ``datasets.load_dataset`` keeps in its cache: ``NAME/CONFIG/VERSION/HASH/`` with the files of each split.

``dataset_info.json`` there names the splits and counts the files of each (``filenames_for_dataset_split`` in the
library's ``naming.py``). Other Arrow files beside them, such as ``cache-0123.arrow`` of ``map``, belong to no split.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .json_files import read_json
from .manifest_shards import Shard
from .scan import has_image_suffix, readable

_INFO = "dataset_info.json"
# Folders of the name, the configuration, the version and the hash below the cache's own.
_LEVELS = 4
_SHOWN = 5


def is_cache(folder: Path) -> bool:
    """Whether a folder, or one of those below it, is a dataset in the cache of ``datasets``.

    Only the first folder of each level is looked into: class folders may be many.
    """
    return next(_cached(folder, _LEVELS, at_most=1), None) is not None


def cached_shards(folder: Path) -> tuple[str, list[Shard]]:
    """Find the files of a cached dataset in their order.

    Args:
        folder: Its own folder, or one above it with no other dataset in it.

    Returns:
        Name of the dataset, and its files.

    Raises:
        InvalidInputError: There are several datasets below the folder, or what describes it is damaged.
    """
    found = sorted(_cached(folder, _LEVELS))
    if len(found) > 1:
        shown = ", ".join(readable(str(each)) for each in found[:_SHOWN]) + (" ..." if len(found) > _SHOWN else "")
        raise InvalidInputError(
            f"{readable(str(folder))} holds {len(found)} datasets of load_dataset. Name the folder of one: {shown}"
        )
    own = found[0]
    info = read_json(own / _INFO)
    shards = [shard for split, described in info["splits"].items() for shard in _shards(own, info, split, described)]
    if not shards:
        raise InvalidInputError(
            f"{readable(str(own))} holds no files of its splits. Load the dataset again, with "
            'load_dataset(..., download_mode="force_redownload").'
        )
    return str(info.get("dataset_name") or info.get("builder_name")), shards


def _cached(folder: Path, levels: int, at_most: int | None = None) -> Iterator[Path]:
    """Folders of cached datasets; folders of images, which may be large, are left at their first image.

    Args:
        folder: Where to look.
        levels: Number of levels below it.
        at_most: Number of folders to look into on each level; all by default.
    """
    below: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name == _INFO:
                    if _is_described(folder):
                        yield folder
                    return
                if has_image_suffix(entry.name):
                    return
                if levels and not _is_helper(entry.name) and entry.is_dir():
                    below.append(entry.path)
    except OSError:
        return
    for path in below[:at_most]:
        yield from _cached(Path(path), levels - 1, at_most)


def _is_helper(name: str) -> bool:
    """Whether a folder is no dataset's: a download that broke off leaves HASH.incomplete."""
    return name == "downloads" or name.startswith(".") or name.endswith(".incomplete")


def _is_described(folder: Path) -> bool:
    """Whether a description is that of a cached dataset: ``save_to_disk`` writes one too, beside ``state.json``."""
    info = read_json(folder / _INFO)
    return (
        isinstance(info, dict)
        and isinstance(info.get("splits"), dict)
        and bool(info.get("dataset_name") or info.get("builder_name"))
        and not (folder / "state.json").exists()
    )


def _shards(folder: Path, info: dict[str, Any], split: str, described: Any) -> list[Shard]:
    own = described if isinstance(described, dict) else {}
    lengths = own.get("shard_lengths")
    # A name is no path: what lies elsewhere is none of the dataset's.
    prefix = Path(f"{own.get('dataset_name') or info.get('dataset_name') or info.get('builder_name')}-{split}").name
    count = len(lengths) if isinstance(lengths, list) else 1
    names = [f"{prefix}-{number:05d}-of-{count:05d}" for number in range(count)] if count > 1 else [prefix]
    # download_and_prepare writes Parquet where it is asked to.
    in_parquet = (folder / f"{names[0]}.parquet").exists()
    suffix = ".parquet" if in_parquet else ".arrow"
    return [Shard(folder / f"{name}{suffix}", split) for name in names]
