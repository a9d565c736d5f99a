"""The request of a study file: the options that were typed override the file's."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import typer

from .options import LISTING, CommonValues

if TYPE_CHECKING:
    from ..study import Request

# Options that are no fields of the request.
_NO_FIELDS = {"data", "dry_run", *(field.name for field in fields(CommonValues))}


def with_study_file(ctx: typer.Context, data: str, request: Request) -> Request:
    """Return the request of a study file if ``data`` names one; typed options override the file.

    Args:
        ctx: Context that distinguishes typed options from defaults.
        data: Argument of the command.
        request: Request made from all options, defaults included.

    Raises:
        InvalidInputError: The study file is invalid, or ``--data`` was given without a study file.
    """
    from ...objectives.errors import InvalidInputError
    from ..study import Request, is_study_file

    if is_study_file(data):
        typed = _typed_fields(ctx)
        listing = {name: getattr(request.listing, name) for name in typed if name in LISTING}
        return Request.read(data, listing, **{name: getattr(request, name) for name in typed if name not in LISTING})
    if ctx.params["other_data"] is not None:
        raise InvalidInputError(
            f"--data replaces the dataset of a study file, and {data!r} is not a study file: leave out one of them."
        )
    return request


def _typed_fields(ctx: typer.Context) -> list[str]:
    """Return the request fields whose options were typed; an option has the name of its field."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params if name not in _NO_FIELDS}
    typed = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return ["data" if name == "other_data" else name for name in typed]
