"""What a cache keeps: what is worth its bytes, who leaves first, and how much there may be."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import InvalidInputError

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
# Computing must take this much longer than keeping and reading: both are measured on machines that do other things too.
_MARGIN = 2.0
_DAY = 86400.0


@dataclass(frozen=True)
class Held:
    """An entry of a cache.

    Attributes:
        bytes: Its size.
        seconds: What it cost to compute.
        idle: Seconds since it was last used.
    """

    bytes: int
    seconds: float
    idle: float = 0.0

    @property
    def worth(self) -> int:
        """Saved seconds per byte, as a power of two, as measurements are no finer; less with every day unused."""
        return math.floor(math.log2(max(self.seconds, 1e-9) / max(self.bytes, 1) / (1 + self.idle / _DAY)))


def choose_victims(held: Mapping[str, Held], newcomer: Held, budget: int) -> list[str] | None:
    """Who leaves so that a newcomer fits: the least worth first, among equals the one unused for longest.

    Args:
        held: What is there.
        newcomer: What shall be kept too.
        budget: Bytes that all together may take.

    Returns:
        The entries that leave; None if the newcomer does not fit or something worth more would have to leave for it.
    """
    if newcomer.bytes > budget:
        return None
    excess = sum(entry.bytes for entry in held.values()) + newcomer.bytes - budget
    victims: list[str] = []
    for key, entry in sorted(held.items(), key=lambda item: (item[1].worth, -item[1].idle)):
        if excess <= 0:
            break
        if entry.worth > newcomer.worth:
            return None
        victims.append(key)
        excess -= entry.bytes
    return victims


def is_worth_keeping(seconds: float, size: int, image_size: int, seconds_per_byte: float) -> bool:
    """Whether features are cheaper to keep and read than to compute, and no larger than what they are made from.

    Args:
        seconds: To compute those of one image.
        size: Of them, bytes.
        image_size: Of the image as the network sees it, bytes.
        seconds_per_byte: To keep and to read, as measured.
    """
    return size <= image_size and seconds > _MARGIN * size * seconds_per_byte


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
