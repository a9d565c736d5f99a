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


def sureness_faults(sure: float | None, strategies: int, *, off: str = "") -> list[str]:
    """Return the faults of a probability with which a search ends early; None if it does not.

    Args:
        sure: The probability.
        strategies: Number of the competing strategies.
        off: What to type to run all trials.

    Examples:
        >>> from frostline.search.limits import sureness_faults
        >>> sureness_faults(0.95, strategies=5)
        []
        >>> sureness_faults(95, strategies=5)
        ['--stop-when-sure is a probability above 0.5 and below 1, such as 0.95, got 95.']
        >>> sureness_faults(0.95, strategies=1)
        ['--stop-when-sure 0.95: with one strategy, no other can win. Leave it out, or name others with --strategy.']
    """
    if sure is None:
        return []
    if not 0.5 < sure < 1:
        told = f"--stop-when-sure is a probability above 0.5 and below 1, such as 0.95, got {sure:g}. {off}"
        return [told.strip()]
    if strategies < 2:
        alone = f"--stop-when-sure {sure:g}: with one strategy, no other can win."
        return [f"{alone} Leave it out, or name others with --strategy."]
    return []
