"""What was typed at `frostline search`, over what a study file says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from .request import Request

# Options by another name than their field of the request.
_FIELDS = {"other_data": "data", "strategy": "strategies", "seeds": "finals_seeds", "plugin": "plugins"}
_NO_FIELDS = {"data", "workspace", "storage", "artifacts", "as_json"}


def with_study_file(ctx: typer.Context, data: str, request: Request) -> Request:
    """The request of a study file where one stands in the place of the data, with what was typed before it.

    Args:
        ctx: Knows what was typed, in contrast to defaults.
        data: What stands in the place of the data.
        request: Of all options, defaults included.

    Raises:
        InvalidInputError: No study file, or ``--data`` without one.
    """
    from ..objectives.errors import InvalidInputError
    from .request import Request
    from .study_file import is_study_file

    if is_study_file(data):
        return Request.read(data, **{field: getattr(request, field) for field in _typed(ctx)})
    if ctx.params["other_data"] is not None:
        raise InvalidInputError(
            f"--data replaces the data of a study file, and {data!r} is none: leave out one of them."
        )
    return request


def _typed(ctx: typer.Context) -> list[str]:
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params if name not in _NO_FIELDS}
    typed = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return [_FIELDS.get(name, name) for name in typed]
