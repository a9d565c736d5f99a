"""Sizes in bytes, as users write them."""

from __future__ import annotations

import re

from .errors import InvalidInputError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(text: str) -> int | None:
    """Parse a size such as ``4GB``, ``200 MB``, ``1.5GiB`` or ``0`` into bytes; ``auto`` gives None.

    Raises:
        InvalidInputError: The text is neither a size nor ``auto``.

    Example:
        >>> from frostline.objectives.sizes import parse_size
        >>> parse_size("1.5GiB"), parse_size("200 MB"), parse_size("auto")
        (1610612736, 200000000, None)
    """
    if text.strip().lower() == "auto":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if match is None or match[2] not in _UNITS:
        raise InvalidInputError(
            f"--cache-budget {text!r} is not a size. Write a number with its unit, such as 200MB, 4GB or 1.5GiB; "
            "0 for no cache, auto for a size that suits this machine."
        )
    return int(float(match[1]) * _UNITS[match[2]])
