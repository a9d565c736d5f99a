"""Limits of the numbers that users give; larger ones are slips of the hand, which would fill memory or a database."""

from __future__ import annotations

from collections.abc import Mapping

# Smallest and largest value by option.
_LIMITS = {
    "--trials": (1, 100_000),
    "--seeds": (1, 1_000),
    "--candidates": (1, 1_000),
    "--folds": (2, 100),
    # Finals and libraries add to it; databases and libraries hold 31 bits.
    "--seed": (0, 2_000_000_000),
    "--workers": (1, 1_000),
    "--slots-per-gpu": (1, 100),
    # Hyperspectral cameras have some hundreds.
    "--channels": (1, 1_000),
    "--population": (0, 1_000),
    "--retries": (0, 1_000),
}


def number_faults(values: Mapping[str, int | None]) -> list[str]:
    """Return the faults of numbers, by option; None stands for a default.

    Examples:
        >>> from frostline.search.limits import number_faults
        >>> number_faults({"--trials": 0, "--seeds": 8, "--workers": None})
        ['--trials must be at least 1, got 0.']
        >>> number_faults({"--trials": 10**20})
        ['--trials must be at most 100,000, got 100000000000000000000.']
    """
    faults = []
    for option, value in values.items():
        least, most = _LIMITS[option]
        if value is not None and not least <= value <= most:
            bound = f"at least {least}" if value < least else f"at most {most:,}"
            faults.append(f"{option} must be {bound}, got {value}.")
    return faults
