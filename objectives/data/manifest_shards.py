"""The files of a dataset of Hugging Face's library ``datasets``, with their splits.

Two layouts of folders are known: what ``Dataset.save_to_disk`` and ``DatasetDict.save_to_disk`` write (Arrow files that
``state.json`` names), and repositories of the Hub (Parquet files whose splits are in their names:
``data/train-00000-of-00002.parquet``, ``train/0000.parquet``, ``train.parquet``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .json_files import read_json
from .layouts import split_named
from .scan import readable

PARQUET_SUFFIXES = (".parquet", ".pq")
# Endings of the Hub's file names: shard of shards, and perhaps a hash.
_SHARD = re.compile(r"[-_.]\d+(-of-\d+)?(-[0-9a-f]+)?$")
_HUB_FOLDERS = ("data", "default")


@dataclass(frozen=True)
class Shard:
    """One file of a dataset.

    Attributes:
        file: Arrow stream or Parquet file.
        split: Name of its split; empty in a dataset without splits.
    """

    file: Path
    split: str = ""


def is_saved_dataset(folder: Path) -> bool:
    """Whether a folder is a dataset of ``datasets``, not one of image files; one that cannot be read is none."""
    if any(os.path.isfile(folder / name) for name in ("dataset_dict.json", "state.json")):
        return True
    first = next(_parquet_files(folder), None)
    return first is not None and _holds_images(first)


def find_shards(folder: Path) -> list[Shard]:
    """Find the files of a dataset in their order.

    Raises:
        InvalidInputError: The folder is not as ``datasets`` writes it, or holds several datasets.
    """
    if (folder / "dataset_dict.json").is_file():
        splits = _names(read_json(folder / "dataset_dict.json"), "splits", folder / "dataset_dict.json")
        return [shard for split in splits for shard in _saved(folder / split, split)]
    if (folder / "state.json").is_file():
        return _saved(folder, "")
    files = list(_parquet_files(folder))
    splits = [_split_of(file, folder) for file in files]
    unnamed = [file for file, split in zip(files, splits, strict=True) if not split]
    if unnamed and any(splits):
        raise InvalidInputError(
            f"{readable(str(unnamed[0]))} names no split, but files beside it do. Rename it to train-0.parquet, "
            "validation-0.parquet or test-0.parquet, or name one file."
        )
    return [Shard(file, split) for file, split in zip(files, splits, strict=True)]


def _saved(folder: Path, split: str) -> list[Shard]:
    state_file = folder / "state.json"
    state = read_json(state_file)
    if isinstance(state, dict) and state.get("_indices_data_files"):
        raise InvalidInputError(
            f"{readable(str(folder))} was saved by an old version of datasets, with a selection of its rows beside "
            "them. Load it with datasets.load_from_disk, and save it again."
        )
    files = state.get("_data_files") if isinstance(state, dict) else None
    names = [file.get("filename") if isinstance(file, dict) else None for file in files or ()]
    return [Shard(folder / name, split) for name in _names({"names": names}, "names", state_file)]


def _names(content: Any, key: str, file: Path) -> list[str]:
    """A list of names of what lies beside a file."""
    names = content.get(key) if isinstance(content, dict) else None
    if (
        isinstance(names, list)
        and names
        and all(isinstance(name, str) and name and name == Path(name).name for name in names)
    ):
        return names
    raise InvalidInputError(
        f"{readable(str(file))} is not as datasets writes it. Save the dataset again with save_to_disk."
    )


def dataset_folders(folder: Path) -> Iterator[Path]:
    """A folder, and those below it that the Hub names: of splits, ``data`` and ``default``. No folder of images is
    walked.
    """
    yield folder
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return
    for entry in entries:
        if (entry.name.casefold() in _HUB_FOLDERS or split_named(entry.name)) and os.path.isdir(entry):
            yield from dataset_folders(entry)


def _parquet_files(folder: Path) -> Iterator[Path]:
    for each in dataset_folders(folder):
        try:
            entries = sorted(each.iterdir())
        except OSError:
            continue
        yield from (entry for entry in entries if entry.suffix.lower() in PARQUET_SUFFIXES and os.path.isfile(entry))


def _holds_images(file: Path) -> bool:
    import pyarrow
    from pyarrow import parquet

    from .manifest_arrow import is_image

    try:
        return any(is_image(field.type) for field in parquet.read_schema(file))
    except (OSError, pyarrow.ArrowException):
        return False


def _split_of(file: Path, root: Path) -> str:
    """The name of a file's split: its own without the shard, or that of its folder."""
    own = _SHARD.sub("", file.stem)
    if split_named(own):
        return own
    return file.parent.name if file.parent != root and split_named(file.parent.name) else ""
