"""Space files: writing a space as TOML for people to edit, and reading it back."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...objectives.errors import InvalidInputError
from ...objectives.strategies import STRATEGIES
from .parsing import create_space
from .space import Domain, Space

HEADER = """\
# The search space of `frostline search --space FILE`: one table per strategy. Delete a table to leave out its strategy.
#   name = value                                             a constant
#   name = { choices = [...], default = ... }                categories
#   name = { low = ..., high = ..., log = true, default = ... }   a range, both ends included
#   when = { "other.parameter" = [...] }                     the parameter exists only for these values
# The strategy's first trial uses `default`. [shared] applies to every strategy that takes the parameter;
# a strategy's own table overrides it. A negative freeze_depth counts from the last unit: -1 freezes all but one
# (`frostline backbones NAME` lists the units). With a table [study] of options (data, backbone, trials, ...) it is a
# study file: `frostline search FILE`.
"""
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def read_space(path: Path) -> Space:
    """Read and validate a space file.

    Raises:
        InvalidInputError: The file cannot be read, is not TOML, is a study file, or has faults; the message names all.
    """
    tables = read_tables(path, "space")
    if "study" in tables:
        raise InvalidInputError(f"{path} has a table [study], so it is a study file. Run: frostline search {path}")
    return space_of(path, tables)


def read_tables(path: Path, kind: str) -> dict[str, Any]:
    """Return the tables of a TOML file, unchecked.

    Args:
        path: Path of the file.
        kind: Kind of the file, for the messages.

    Raises:
        InvalidInputError: The file cannot be read or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InvalidInputError(f"The {kind} file {path} cannot be read: {reason}.") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInputError(f"The {kind} file {path} is not valid TOML: {error}.") from None


def space_of(path: Path, tables: Mapping[str, Any]) -> Space:
    """Return the space that a file's tables describe.

    Raises:
        InvalidInputError: The space has faults; each is named with the file.
    """
    try:
        return create_space(tables)
    except InvalidInputError as error:
        raise InvalidInputError([f"{path}: {fault}" for fault in error.faults]) from None


def write_space(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a space as TOML text, one parameter per line."""
    sections = [HEADER]
    for name, table in tables.items():
        summary = " ".join(STRATEGIES[name].summary.split()) if name in STRATEGIES else "taken by every strategy"
        lines = [f"[{_key(name)}]  # {summary}", *_lines(table)]
        if "head" in table:
            lines += ["", f"[{_key(name)}.head]", *_lines(table["head"])]
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


def tables_of(space: Space) -> dict[str, dict[str, Any]]:
    """Return a space as tables; :func:`create_space` reverses this."""
    return {
        strategy: _nested({name: _written(domain) for name, domain in domains.items()})
        for strategy, domains in space.strategies.items()
    }


def domain_text(domain: Domain) -> str:
    """Return a domain as the value of its parameter in a space file: ``{ low = 0, high = 6, default = 3 }``.

    Example:
        >>> from frostline.search.space import Domain
        >>> from frostline.search.space.space_file import domain_text
        >>> domain_text(Domain(choices=(8,))), domain_text(Domain(choices=("avg", "max"), default="avg"))
        ('8', '{ choices = ["avg", "max"], default = "avg" }')
    """
    return _value(_written(domain))


def _nested(table: Mapping[str, Any]) -> dict[str, Any]:
    head = {name.removeprefix("head."): value for name, value in table.items() if name.startswith("head.")}
    own = {name: value for name, value in table.items() if not name.startswith("head.")}
    return own | ({"head": head} if head else {})


def _written(domain: Domain) -> Any:
    """Return a constant as its value, any other domain as a table."""
    said = domain.model_dump(exclude_defaults=True)
    return said["choices"][0] if set(said) == {"choices"} and len(said["choices"]) == 1 else said


def _lines(table: Mapping[str, Any]) -> list[str]:
    width = max((len(_key(name)) for name in table), default=0)
    return [f"{_key(name):<{width}} = {_value(value)}" for name, value in table.items() if name != "head"]


def _value(value: Any) -> str:
    """Return a TOML value; numbers and booleans are written as in JSON."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        return _string(value)
    # JSON has no infinity.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else json.dumps(value)


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    """Return a TOML string in ASCII, which every terminal can print."""
    # TOML has JSON's escapes, but no surrogate pairs for characters beyond U+FFFF.
    escaped = (json.dumps(each)[1:-1] if each <= "\uffff" else f"\\U{ord(each):08x}" for each in text)
    return f'"{"".join(escaped)}"'
