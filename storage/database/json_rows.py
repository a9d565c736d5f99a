"""JSON values that a table keeps as bytes, one in a row."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute

from .engine import Database


def read_json_row(
    database: Database, content: InstrumentedAttribute[bytes], *own: ColumnElement[bool]
) -> dict[str, Any] | None:
    """Return the value of the row to which conditions lead; None if there is none.

    Args:
        database: Database of the table.
        content: Column of the values.
        own: Conditions of the row.

    Raises:
        UnreachableError: The database cannot be used.
    """
    query = select(content).where(*own)
    found = database.run_with_retry(lambda session: session.scalar(query))
    return None if found is None else json.loads(found)
