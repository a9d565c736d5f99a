"""Files and folders that hold the table of a manifest: text, Parquet, and what the library ``datasets`` saves."""

from __future__ import annotations

from pathlib import Path

from ..errors import InvalidInputError
from .manifest_shards import PARQUET_SUFFIXES, Shard, find_shards
from .manifest_table import Table, first_line
from .manifest_text import SEPARATOR_OF, read_text
from .scan import is_plain, readable

SUFFIXES = (*SEPARATOR_OF, *PARQUET_SUFFIXES)


def read_table(source: Path, scratch: Path) -> Table:
    """Read the table of a file, or of a folder of :mod:`.manifest_shards`.

    Args:
        source: File or folder.
        scratch: Folder of unpacked images, which vanish with the process.

    Raises:
        InvalidInputError: It cannot be read, is no such table, or has no rows.
    """
    name = readable(source.name)
    try:
        if not source.is_dir() and source.suffix.lower() in SEPARATOR_OF:
            table = read_text(source, name)
        else:
            from .manifest_arrow import read_shards  # pyarrow is slow to import, and rarely needed

            table = read_shards(find_shards(source) if source.is_dir() else [Shard(source)], name, scratch)
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
