"""Values that a program gives by name: the names and types are checked before anything else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from ...objectives.errors import InvalidInputError, unknown_name


def check_given(given: Mapping[str, Any], kind: type, *, without: tuple[str, ...] = ()) -> None:
    """Check values that are given for the fields of a data class.

    Args:
        given: Values by name.
        kind: Data class.
        without: Fields that no program gives.

    Raises:
        InvalidInputError: A name is unknown or a value has the wrong type; the message names all faults.

    Examples:
        >>> from frostline.search.slots import Resources
        >>> from frostline.search.study.given_values import check_given
        >>> check_given({"workers": 2}, Resources)
        >>> check_given({"workers": "2"}, Resources)
        Traceback (most recent call last):
            ...
        frostline.objectives.errors.InvalidInputError: workers: Input should be a valid integer, got '2'
    """
    # A study file's class would load torch, and no program gives one.
    hints = get_type_hints(kind, localns={"StudyFile": object})
    types = {name: hint for name, hint in hints.items() if name not in without}
    if faults := [fault for name, value in given.items() if (fault := _fault(name, value, types))]:
        raise InvalidInputError(faults)


def _fault(name: str, value: Any, types: Mapping[str, Any]) -> str | None:
    if name not in types:
        return unknown_name("setting", name, types)
    try:
        TypeAdapter(types[name]).validate_python(value, strict=True)
    except ValidationError as error:
        return f"{name}: {error.errors()[0]['msg']}, got {value!r}"
    return None
