"""Files and folders that hold the table of a manifest: text, JSON, Parquet, and what the library ``datasets`` saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InvalidInputError
from .manifest_cache import cached_shards, is_cache
from .manifest_json import JSON_SUFFIXES, read_json_lines
from .manifest_shards import PARQUET_SUFFIXES, Shard, find_shards, is_saved_dataset
from .manifest_table import Table, first_line
from .manifest_text import SEPARATOR_OF, read_text
from .scan import is_plain, readable

SUFFIXES = (*SEPARATOR_OF, *PARQUET_SUFFIXES, *JSON_SUFFIXES)


def is_stored_dataset(folder: Path) -> bool:
    """Whether a folder is a dataset of ``datasets``, saved or in its cache, not one of image files."""
    return is_saved_dataset(folder) or is_cache(folder)


def read_table(source: Path, scratch: Path) -> Table:
    """Read the table of a file, or of a folder for which :func:`is_stored_dataset` is true.

    Args:
        source: File or folder.
        scratch: Folder of unpacked images, which vanish with the process.

    Raises:
        InvalidInputError: It cannot be read, is no such table, or has no rows.
    """
    name = readable(source.name)
    try:
        if source.is_dir():
            table = _read_folder(source, name, scratch)
        elif source.suffix.lower() in SEPARATOR_OF:
            table = read_text(source, name)
        elif source.suffix.lower() in JSON_SUFFIXES:
            table = read_json_lines(source, name)
        else:
            table = _read_shards([Shard(source)], name, scratch)
    except OSError as error:
        raise InvalidInputError(f"Cannot read {name}: {error.strerror or first_line(error)}.") from error
    if not any(table.columns):
        raise InvalidInputError(f"{name} has no header. Its first line names the columns, such as: path,label")
    if strange := [readable(column) for column in table.columns if not is_plain(column)]:
        raise InvalidInputError(
            f"{name} has the column '{strange[0]}', with a line break or a control character in its name. Rename it; "
            "if the whole header looks like that, save the table as 'CSV UTF-8'."
        )
    if not len(table.numbers):
        raise InvalidInputError(f"{name} has no rows below its header. Write one row for each image.")
    return table


def _read_folder(folder: Path, name: str, scratch: Path) -> Table:
    # Parquet files of a cache name their splits otherwise than those of the Hub.
    if not is_cache(folder):
        return _read_shards(find_shards(folder), name, scratch)
    title, shards = cached_shards(folder)
    # The folder's own name is a hash.
    return replace(_read_shards(shards, readable(title), scratch), title=readable(title))


def _read_shards(shards: Sequence[Shard], name: str, scratch: Path) -> Table:
    from .manifest_arrow import read_shards  # pyarrow is slow to import, and rarely needed

    return read_shards(shards, name, scratch)
