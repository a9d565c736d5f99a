"""What a cache keeps: what is worth its bytes, who leaves first, and how much there may be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

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
