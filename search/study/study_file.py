"""Study files: a space file with a table ``[study]`` that holds the options of ``frostline search``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ...objectives.backbones import is_weights_file
from ...objectives.data import ListingOptions
from ...objectives.errors import InvalidInputError, unknown_name
from ..space import Space, read_tables, space_of
from .prior import NONE, WORKSPACE


class _Options(BaseModel):
    """The keys of ``[study]``, named as the options of the command line."""

    model_config = ConfigDict(strict=True, extra="forbid")

    data: str = ""
    backbone: str = ""
    weights: str = ""
    image_size: int = 0
    trials: int = 0
    budget: str = ""
    stop_when_sure: float = 0.0
    name: str = ""
    strategies: list[str] = []
    metric: str = ""
    sampler: str = ""
    head: str = ""
    seed: int = 0
    folds: int = 0
    seeds: int = 0
    race: bool = True
    indifference: float = 0.0
    population: int = 0
    precision: str = ""
    device: str = ""
    cache_budget: str = ""
    plugins: list[str] = []
    audit: bool = True
    prior: str = ""
    path_column: str = ""
    label_column: str = ""
    split_column: str = ""
    group: str = ""
    group_regex: str = ""
    image_root: str = ""
    allow_outside: bool = False
    nested_classes: bool = False
    channels: int = 3


# Fields of requests and settings that have another name than the option, by option.
_FIELDS = {"seeds": "finals_seeds", "race": "racing"}


def option_of(field: str) -> str:
    """Return the name that a user types for a field of requests and settings.

    Example:
        >>> from frostline.search.study.study_file import option_of
        >>> option_of("finals_seeds"), option_of("trials")
        ('seeds', 'trials')
    """
    own = field.removeprefix("listing.")
    return next((option for option, named in _FIELDS.items() if named == own), own)


@dataclass(frozen=True)
class StudyFile:
    """A study file. Its space is parsed later, when the plugins that define its strategies are imported.

    Attributes:
        path: Path of the file.
        options: Values of ``[study]``, by the fields of :class:`Request`.
        listing: Those that are fields of :class:`ListingOptions`.
        tables: All other tables.
        faults: Faults of ``[study]``.
    """

    path: Path
    options: Mapping[str, Any]
    listing: Mapping[str, Any]
    tables: Mapping[str, Any]
    faults: tuple[str, ...]

    def space(self) -> Space | None:
        """Return the space of the file; None if the file has only ``[study]``.

        Raises:
            InvalidInputError: The space has faults; the message names all of them.
        """
        return space_of(self.path, self.tables) if self.tables else None


def is_study_file(data: str) -> bool:
    """Return whether a dataset argument names a study file.

    Examples:
        >>> from frostline.search.study import is_study_file
        >>> is_study_file("birds.toml"), is_study_file("photos")
        (True, False)"""
    return Path(data).suffix.lower() == ".toml" and not os.path.isdir(data)


def read_study(path: Path) -> StudyFile:
    """Read a study file. Relative paths in it are relative to its folder.

    Raises:
        InvalidInputError: The file cannot be read, is not TOML, or has no table ``[study]``.
    """
    tables = read_tables(path, "study")
    written = tables.pop("study", None)
    if not isinstance(written, Mapping):
        raise InvalidInputError(
            f"{path} has no table [study], so it is not a study file. "
            f"Add one, or use it as a space: frostline search DATA --space {path}"
        )
    options, faults = _check(written)
    listing = {field.name: options.pop(field.name) for field in fields(ListingOptions) if field.name in options}
    if listing.get("image_root"):
        listing["image_root"] = _from(path.parent, listing["image_root"])
    request = _as_request(options, path.parent)
    return StudyFile(path, request, listing, tables, tuple(f"{path}: [study] {it}" for it in faults))


def _check(written: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the valid options, and the faults of the others."""
    faults: dict[str, str] = {}
    try:
        _Options.model_validate(written)
    except ValidationError as error:
        for fault in error.errors():
            key = str(fault["loc"][0])
            unknown = fault["type"] == "extra_forbidden"
            reason = f"{key}: {fault['msg']}, got {fault['input']!r}"
            faults[key] = unknown_name("option", key, _Options.model_fields) if unknown else reason
    return {key: value for key, value in written.items() if key not in faults}, list(faults.values())


def _as_request(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    fields = {_FIELDS.get(key, key): value for key, value in options.items()}
    fields |= {key: tuple(fields[key]) for key in ("strategies", "plugins") if key in fields}
    # A folder may have a name with a colon, as the prefix of another kind of data.
    if "data" in fields and (_is_there(folder, fields["data"]) or not re.match(r"[A-Za-z]\w+:", fields["data"])):
        fields["data"] = _from(folder, fields["data"])
    if "weights" in fields and (_is_there(folder, fields["weights"]) or is_weights_file(fields["weights"])):
        fields["weights"] = _from(folder, fields["weights"])
    if "prior" in fields and fields["prior"] not in ("", WORKSPACE, NONE):
        fields["prior"] = _from(folder, fields["prior"])
    return fields


def _is_there(folder: Path, path: str) -> bool:
    return bool(path) and os.path.exists(_from(folder, path))


def _from(folder: Path, path: str) -> str:
    return str(folder / os.path.expanduser(path))
