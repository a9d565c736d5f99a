"""Cache policy: admission, eviction order, size limits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Factor by which computing must exceed storing and reading: both are measured on machines under other load.
_MARGIN = 2.0
_DAY = 86400.0
# Size of features as a multiple of their image's up to which they are kept: the tokens of a transformer that turns
# patches into as many numbers, and its class token.
_LARGEST = 1.125


@dataclass(frozen=True)
class CacheEntry:
    """An entry of a cache.

    Attributes:
        bytes: Size, bytes.
        seconds: Time of its computation, seconds.
        idle: Time since its last use, seconds.
    """

    bytes: int
    seconds: float
    idle: float = 0.0

    @property
    def saved_seconds_per_byte(self) -> int:
        """Saved seconds per byte, rounded down to a power of two (its exponent), since measurements are no finer; less
        for every unused day.
        """
        return math.floor(math.log2(max(self.seconds, 1e-9) / max(self.bytes, 1) / (1 + self.idle / _DAY)))


def choose_evictions(held: Mapping[str, CacheEntry], candidate: CacheEntry, budget: int) -> list[str] | None:
    """Entries to evict so that a new one fits: the least valuable first, among equals the longest unused.

    Args:
        held: Entries of the cache.
        candidate: New entry.
        budget: Maximum size of all entries together, bytes.

    Returns:
        Keys of the entries to evict; None if the new entry does not fit, or would evict a more valuable one.

    Example:
        >>> from frostline.objectives.features.cache_policy import CacheEntry, choose_evictions
        >>> held = {"cheap": CacheEntry(bytes=60, seconds=1), "dear": CacheEntry(bytes=40, seconds=100)}
        >>> choose_evictions(held, CacheEntry(bytes=50, seconds=20), budget=100)
        ['cheap']
    """
    if candidate.bytes > budget:
        return None
    excess = sum(entry.bytes for entry in held.values()) + candidate.bytes - budget
    victims: list[str] = []
    for key, entry in sorted(held.items(), key=lambda item: (item[1].saved_seconds_per_byte, -item[1].idle)):
        if excess <= 0:
            break
        if entry.saved_seconds_per_byte > candidate.saved_seconds_per_byte:
            return None
        victims.append(key)
        excess -= entry.bytes
    return victims


def is_small_enough(size: int, image_size: int) -> bool:
    """Whether features of ``size`` bytes are hardly larger than their image, or smaller.

    >>> from frostline.objectives.features import is_small_enough
    >>> is_small_enough(197 * 768, image_size=3 * 224 * 224), is_small_enough(256 * 56 * 56, image_size=3 * 224 * 224)
    (True, False)
    """
    return size <= _LARGEST * image_size


def is_worth_keeping(seconds: float, size: int, image_size: int, seconds_per_byte: float) -> bool:
    """Whether features are cheaper to store and read than to compute, and small enough.

    Args:
        seconds: Time to compute the features of one image, seconds.
        size: Size of the features of one image, bytes.
        image_size: Size of one input image of the network, bytes.
        seconds_per_byte: Measured time to store and read one byte, seconds.

    Example:
        >>> from frostline.objectives.features.cache_policy import is_worth_keeping
        >>> is_worth_keeping(seconds=1e-3, size=2048, image_size=150528, seconds_per_byte=1e-9)
        True
    """
    return is_small_enough(size, image_size) and seconds > _MARGIN * size * seconds_per_byte
