"""Tables of JSON Lines: one object a line, whose keys are the columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .manifest_table import Cells, Table, cell_text

JSON_SUFFIXES = (".jsonl",)


def read_json_lines(file: Path, name: str) -> Table:
    """Read a file of JSON Lines; see :func:`.manifest_files.read_table`. A key that a line lacks is an empty cell."""
    numbers: list[int] = []
    rows: list[dict[str, Any]] = []
    try:
        with file.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    numbers.append(number)
                    rows.append(_object(line, f"{name}, line {number},"))
    except UnicodeError:
        raise InvalidInputError(f"{name} is not a text of UTF-8. Save it as UTF-8.") from None
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    nested = {column: kind for column in columns if (kind := _nested([row.get(column) for row in rows]))}

    def read(column: str) -> Cells:
        return [cell_text(row.get(column)) for row in rows]

    return Table(name, columns, "line", numbers, nested, read)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInputError(
            f'{where} is no object of JSON. Write one a line, such as: {{"file_name": "1.jpg", "label": "cat"}}'
        )
    return value


def _nested(values: list[Any]) -> str:
    """What a column holds, if it holds no plain values."""
    if any(isinstance(value, list) for value in values):
        return "lists"
    return "records" if any(isinstance(value, dict) for value in values) else ""
