"""Sizes in bytes, as users write them."""

from __future__ import annotations

import re

from .errors import InvalidInputError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(text: str) -> int | None:
    """Bytes of ``4GB``, ``200 MB``, ``1.5GiB`` or ``0``; None for ``auto``.

    Raises:
        InvalidInputError: Anything else.
    """
    if text.strip().lower() == "auto":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Z]*)", text.strip().upper())
    if match is None or match[2] not in _UNITS:
        raise InvalidInputError(
            f"--cache-budget {text!r} is no size. Write a number with its unit, such as 200MB, 4GB or 1.5GiB; "
            "0 for no cache, auto to leave it to the machine."
        )
    return int(float(match[1]) * _UNITS[match[2]])
