"""Tables of text: CSV and TSV files of any separator."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import InvalidInputError
from .manifest_table import Cells, Table, cell_text, first_line

SEPARATOR_OF = {".csv": "", ".tsv": "\t", ".tab": "\t"}
_SEPARATORS = (",", ";", "\t", "|")


def read_text(file: Path, name: str) -> Table:
    """Read a CSV or TSV file; see :func:`.manifest_files.read_table`."""
    import pandas  # slow to import, and rarely needed

    with file.open("rb") as stream:
        header = stream.readline().decode("utf-8-sig", errors="replace")
    separator = SEPARATOR_OF[file.suffix.lower()] or max(_SEPARATORS, key=header.count)
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
    texts = [[cell_text(value) for value in frame[column]] for column in frame.columns]
    columns = tuple(cells[0] or "" for cells in texts)
    filled = [row for row in range(1, len(frame)) if any(cells[row] is not None for cells in texts)]

    def read(column: str) -> Cells:
        cells = texts[columns.index(column)]
        return [cells[row] for row in filled]

    return Table(name, columns, "line", [row + 1 for row in filled], {}, read)


def _parser_fault(name: str, error: Exception) -> str:
    found = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error))
    if found:
        return (
            f"{name}, line {found[2]}, has {found[3]} cells, but the header has {found[1]}. "
            'Put texts with a separator in them into quotes: "a, b".'
        )
    return f"{name} is not a valid table: {first_line(error)}. Save it anew as CSV."
