"""Tables of Arrow and Parquet files, with the images in them, as the library ``datasets`` stores them.

An image is a struct of its file's ``bytes`` and ``path``, or bytes alone. A class is an integer, whose name is in the
features that the schema's metadata keep (https://huggingface.co/docs/datasets/about_arrow). Both are read by pyarrow
alone. Arrow files are mapped into memory, of which only the images that are read are loaded; a column of images in
Parquet is first unpacked into such a file, which vanishes with the process.
"""

from __future__ import annotations

import json
import tempfile
import threading
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet, types

from ..errors import InvalidInputError
from .listing import Embedded
from .manifest_shards import PARQUET_SUFFIXES, Shard
from .manifest_table import Cells, ImageCells, Table, cell_text, first_line
from .scan import readable

# Images are unpacked so many at a time.
_BATCH = 64
# A file of Arrow begins with this, a stream does not (https://arrow.apache.org/docs/format/Columnar.html).
_MAGIC = b"ARROW1"
# The column of splits, which are in the names of folders and files.
_SPLIT = "split"


class _File:
    """One Arrow or Parquet file.

    Args:
        shard: The file.
        scratch: Folder where images are unpacked.

    Raises:
        OSError: It cannot be read.
        pyarrow.ArrowException: It is no such file, or damaged.
    """

    def __init__(self, shard: Shard, scratch: Path) -> None:
        self.file, self.split = shard.file, shard.split
        self._scratch = scratch
        self._unpacking = threading.Lock()
        self._unpacked: dict[str, Any] = {}
        if shard.file.suffix.lower() in PARQUET_SUFFIXES:
            self._mapped: Any = None
            self._metadata: Any = parquet.read_metadata(shard.file)
            self.schema: Any = parquet.read_schema(shard.file)
            self.rows: int = self._metadata.num_rows
        else:
            self._mapped = _map(shard.file)
            self.schema, self.rows = self._mapped.schema, self._mapped.num_rows

    @cached_property
    def features(self) -> dict[str, Any]:
        """What ``datasets`` declared of the columns."""
        try:
            declared = json.loads((self.schema.metadata or {})[b"huggingface"])["info"]["features"]
        except (KeyError, TypeError, ValueError):
            return {}
        return {name: each for name, each in declared.items() if isinstance(each, dict)}

    def cells(self, column: str) -> Cells:
        """The cells of a column: the names of classes, the paths of images."""
        if is_image(self.schema.field(column).type):
            held = self.held(column)
            return [path or ("" if is_held else None) for path, is_held in zip(self._paths(column), held, strict=True)]
        values = self._column(column).to_pylist()
        names = self.features.get(column, {}).get("names")
        if self.features.get(column, {}).get("_type") == "ClassLabel" and isinstance(names, list):
            # A class of -1 is none, as in test splits whose labels are kept back.
            values = [names[each] if isinstance(each, int) and 0 <= each < len(names) else None for each in values]
        return [cell_text(value) for value in values]

    def held(self, column: str) -> list[bool]:
        """For each row, whether it holds the bytes of an image."""
        leaf = f"{column}.bytes" if types.is_struct(self.schema.field(column).type) else column
        if self._mapped is None and _has_no_null(self._metadata, leaf):
            return [True] * self.rows
        return _child(self._column(column, leaf), "bytes").is_valid().to_pylist()

    def image(self, column: str, row: int) -> bytes:
        """The bytes of an image.

        Raises:
            OSError: The file changed or is damaged.
        """
        try:
            value = self._images(column)[row].as_py()
        except pyarrow.ArrowException as error:
            raise OSError(first_line(error)) from error
        return value["bytes"] if isinstance(value, dict) else value

    def _paths(self, column: str) -> list[str | None]:
        kind = self.schema.field(column).type
        if not types.is_struct(kind) or kind.get_field_index("path") < 0:
            return [None] * self.rows
        return [cell_text(path) for path in _child(self._column(column, f"{column}.path"), "path").to_pylist()]

    def _column(self, column: str, leaf: str = "") -> Any:
        """A column, or of Parquet only one leaf of it."""
        if self._mapped is not None:
            return self._mapped.column(column)
        with parquet.ParquetFile(self.file) as source:
            return source.read([leaf or column]).column(column)

    def _images(self, column: str) -> Any:
        if self._mapped is not None:
            return self._mapped.column(column)
        with self._unpacking:
            if column not in self._unpacked:
                self._unpacked[column] = self._unpack(column).column(column)
            return self._unpacked[column]

    def _unpack(self, column: str) -> Any:
        """A column of Parquet, mapped from a file that has no name any more."""
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._scratch, suffix=".arrow") as copy:
                schema = pyarrow.schema([self.schema.field(column)])
                with pyarrow.ipc.new_stream(copy, schema) as writer, parquet.ParquetFile(self.file) as source:
                    for batch in source.iter_batches(_BATCH, columns=[column]):
                        writer.write_batch(batch.replace_schema_metadata(None).cast(schema))
                copy.flush()
                return _map(Path(copy.name))
        except OSError as error:
            raise InvalidInputError(
                f"Cannot unpack the images of {readable(self.file.name)} in {self._scratch}: "
                f"{error.strerror or first_line(error)}. Free space there."
            ) from error


def read_shards(shards: Sequence[Shard], name: str, scratch: Path) -> Table:
    """Read the files of a dataset as one table, whose splits are a column.

    Args:
        shards: Files, which have the same columns.
        name: Name of the dataset, for people.
        scratch: Folder where images of Parquet files are unpacked when they are read.

    Raises:
        OSError: A file cannot be read.
        InvalidInputError: A file is damaged, or has other columns than the first one.
    """
    files = [_opened(shard, scratch) for shard in shards]
    first = files[0]
    if other := next((file for file in files if set(file.schema.names) != set(first.schema.names)), None):
        raise InvalidInputError(
            f"{readable(other.file.name)} has other columns than {readable(first.file.name)} "
            f"({', '.join(other.schema.names)}, not {', '.join(first.schema.names)}). Name one file, or save the "
            "splits with the same columns."
        )
    split = (_SPLIT,) if first.split else ()

    def read(column: str) -> Cells:
        if split and column == _SPLIT:
            return [file.split for file in files for _ in range(file.rows)]
        return [cell for file in files for cell in file.cells(column)]

    return Table(
        name,
        (*split, *(column for column in first.schema.names if column not in split)),
        "row",
        range(1, sum(file.rows for file in files) + 1),
        {field.name: kind for field in first.schema if (kind := _nested(field.type))},
        read,
        {field.name: partial(_image_cells, files, field.name) for field in first.schema if is_image(field.type)},
        {column: str(feature.get("_type")) for column, feature in first.features.items()},
    )


def is_image(kind: Any) -> bool:
    """Whether the cells of a column of Arrow may hold files of images."""
    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and is_image(kind.field("bytes").type)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _opened(shard: Shard, scratch: Path) -> _File:
    try:
        return _File(shard, scratch)
    except pyarrow.ArrowException as error:
        kind = "a Parquet" if shard.file.suffix.lower() in PARQUET_SUFFIXES else "an Arrow"
        raise InvalidInputError(f"{readable(shard.file.name)} is not {kind} file: {first_line(error)}.") from None


def _image_cells(files: Sequence[_File], column: str) -> ImageCells:
    ends = list(accumulate(file.rows for file in files))

    def content(row: int) -> Embedded:
        place = bisect_right(ends, row)
        own = row - (ends[place - 1] if place else 0)
        return Embedded(files[place].file, partial(files[place].image, column, own))

    return ImageCells([held for file in files for held in file.held(column)], content)


def _map(file: Path) -> Any:
    """The table of an Arrow stream or file, mapped into memory."""
    mapped = pyarrow.memory_map(str(file))
    is_file = mapped.read(len(_MAGIC)) == _MAGIC
    mapped.seek(0)
    return (pyarrow.ipc.open_file if is_file else pyarrow.ipc.open_stream)(mapped).read_all()


def _child(column: Any, name: str) -> Any:
    """A field of a column of structs, missing where the struct is; a column of bytes is itself."""
    return column.flatten()[column.type.get_field_index(name)] if types.is_struct(column.type) else column


def _has_no_null(metadata: Any, leaf: str) -> bool:
    """Whether the statistics of a Parquet file say that a column has no missing value."""
    return all(
        column.statistics is not None and column.statistics.null_count == 0
        for column in _chunks(metadata)
        if column.path_in_schema == leaf
    )


def _chunks(metadata: Any) -> Iterator[Any]:
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        yield from map(group.column, range(group.num_columns))


def _nested(kind: Any) -> str:
    """What the cells of a column of Arrow hold, if they hold no plain values."""
    if types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return "images or other data" if _holds_bytes(kind) else "records"
    return "lists" if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) else ""


def _holds_bytes(kind: Any) -> bool:
    if types.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    return types.is_binary(kind) or types.is_large_binary(kind)
