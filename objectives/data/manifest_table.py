"""The table of a manifest: a CSV, TSV or Parquet file, read as text, whose rows are named as people count them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .scan import is_plain, readable

_TEXT = {".csv": "", ".tsv": "\t", ".tab": "\t"}
_PARQUET = (".parquet", ".pq")
SUFFIXES = (*_TEXT, *_PARQUET)
_SEPARATORS = (",", ";", "\t", "|")
# Words that programs write where a value is missing. NA and None may be classes.
_MISSING = frozenset(("", "nan", "NaN", "<NA>"))
_SHOWN = 3

Cells = list[str | None]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        name: Name of the file, for people.
        columns: Names of the columns, in their order.
        unit: What a row is called: ``line`` of a text, ``row`` of a table.
        numbers: Number of each row; the header is line 1.
        nested: Columns whose cells hold no plain values, with what they hold.
        read: Gives the cells of a column, by its name; None for those that are missing.
    """

    name: str
    columns: tuple[str, ...]
    unit: str
    numbers: Sequence[int]
    nested: Mapping[str, str]
    read: Callable[[str], Cells]

    def places(self, rows: Sequence[int]) -> str:
        """Where rows are, by their positions, in words.

        >>> from frostline.objectives.data.manifest_table import Table
        >>> Table("photos.csv", ("path",), "line", range(2, 99), {}, lambda name: []).places([0, 1, 7, 8, 9])
        'lines 2, 3, 9 and 2 more'
        """
        shown = ", ".join(str(self.numbers[row]) for row in rows[:_SHOWN])
        more = f" and {len(rows) - _SHOWN:,} more" if len(rows) > _SHOWN else ""
        return f"{self.unit}{'s' * (len(rows) > 1)} {shown}{more}"


def read_table(file: Path) -> Table:
    """Read the table of a file.

    Raises:
        InvalidInputError: The file cannot be read, is no such table, or has no rows.
    """
    name = readable(file.name)
    try:
        table = _read_parquet(file, name) if file.suffix.lower() in _PARQUET else _read_text(file, name)
    except OSError as error:
        raise InvalidInputError(f"Cannot read {name}: {error.strerror or _first_line(error)}.") from error
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


def _read_text(file: Path, name: str) -> Table:
    import pandas  # slow to import, and rarely needed

    with file.open("rb") as stream:
        header = stream.readline().decode("utf-8-sig", errors="replace")
    separator = _TEXT[file.suffix.lower()] or max(_SEPARATORS, key=header.count)
    try:
        # Without a header, a row that is too long is an error; with one, pandas takes the first column for an index.
        frame = pandas.read_csv(
            file,
            sep=separator,
            header=None,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
            skipinitialspace=True,
            encoding="utf-8-sig",
        )
    except pandas.errors.EmptyDataError:
        raise InvalidInputError(f"{name} is empty. Its first line names the columns, such as: path,label") from None
    except UnicodeError:
        raise InvalidInputError(f"{name} is not a text of UTF-8. Save it as 'CSV UTF-8'.") from None
    except pandas.errors.ParserError as error:
        raise InvalidInputError(_parser_fault(name, error)) from None
    texts = [[_cell(value) for value in frame[column]] for column in frame.columns]
    columns = tuple(cells[0] or "" for cells in texts)
    filled = [row for row in range(1, len(frame)) if any(cells[row] is not None for cells in texts)]

    def read(column: str) -> Cells:
        cells = texts[columns.index(column)]
        return [cells[row] for row in filled]

    return Table(name, columns, "line", [row + 1 for row in filled], {}, read)


def _read_parquet(file: Path, name: str) -> Table:
    import pyarrow
    from pyarrow import parquet

    try:
        schema, count = parquet.read_schema(file), parquet.read_metadata(file).num_rows
    except pyarrow.ArrowInvalid as error:
        raise InvalidInputError(f"{name} is not a Parquet file: {_first_line(error)}.") from None
    nested = {field.name: kind for field in schema if (kind := _nested(field.type))}

    def read(column: str) -> Cells:
        values = parquet.read_table(file, columns=[column]).column(column).to_pylist()
        return [_cell(value) for value in values]

    return Table(name, tuple(schema.names), "row", range(1, count + 1), nested, read)


def _nested(kind: Any) -> str:
    """What the cells of a column of Arrow hold, if they hold no plain values."""
    from pyarrow import types

    if types.is_struct(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        return "images or other data" if _holds_bytes(kind) else "records"
    return "lists" if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) else ""


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    return types.is_binary(kind) or types.is_large_binary(kind)


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    # Whole numbers beside missing ones are stored as floats.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    return None if text in _MISSING else text


def _parser_fault(name: str, error: Exception) -> str:
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found:
        return (
            f"{name}, line {found[2]}, has {found[3]} cells, but the header has {found[1]}. "
            'Put texts with a separator in them into quotes: "a, b".'
        )
    return f"{name} is not a valid table: {_first_line(error)}. Save it anew as CSV."


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
