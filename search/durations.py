"""Durations as users write them: ``20m``, ``1h30m``."""

from __future__ import annotations

import re

from ..objectives.errors import InvalidInputError

# Seconds by unit, the largest first, as they follow each other.
_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PATTERN = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?)\s*{unit})?\s*" for unit in _UNITS))
# Longer ones are slips of the hand.
_MOST = 3_650 * 86_400


def parse_duration(option: str, text: str) -> float:
    """Parse a duration such as ``90s``, ``20m``, ``1.5h``, ``2d`` or ``1h30m`` into seconds.

    Args:
        option: Option that the user typed, for the message.
        text: Duration as the user typed it.

    Raises:
        InvalidInputError: The text is no duration, or one of no or too many seconds.

    Examples:
        >>> from frostline.search.durations import parse_duration
        >>> parse_duration("--budget", "20m"), parse_duration("--budget", "1h 30m")
        (1200.0, 5400.0)
        >>> parse_duration("--budget", "20")
        Traceback (most recent call last):
        frostline.objectives.errors.InvalidInputError: --budget '20' is not a time. Write numbers with units, ...
    """
    match = _PATTERN.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        raise InvalidInputError(
            f"{option} {text!r} is not a time. Write numbers with units, such as 90s, 20m, 2h, 1d or 1h30m."
        )
    seconds = sum(float(number or 0) * size for number, size in zip(match.groups(), _UNITS.values(), strict=True))
    if seconds <= 0:
        raise InvalidInputError(f"{option} must be more than 0 seconds, got {text}. Try {option} 20m.")
    if seconds > _MOST:
        raise InvalidInputError(f"{option} must be at most 3650d (ten years), got {text}.")
    return seconds


def write_duration(seconds: float) -> str:
    """Return a duration as a user would type it, to the second from a minute on.

    Examples:
        >>> from frostline.search.durations import write_duration
        >>> [write_duration(seconds) for seconds in (0.25, 90, 1200, 5400, 90000)]
        ['0.25s', '1m30s', '20m', '1h30m', '1d1h']
    """
    if seconds < 60:
        return f"{seconds:.3g}s"
    left, text = round(seconds), ""
    for unit, size in _UNITS.items():
        number, left = divmod(left, size)
        text += f"{number}{unit}" if number else ""
    return text
