"""Numbers as people read them."""

from __future__ import annotations

from typing import Any

NOTHING = "–"


def percent(share: float | None) -> str:
    """``0.9134`` is ``91.3 %``."""
    return NOTHING if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """A difference of shares in percentage points: ``-0.012`` is ``−1.2``."""
    text = f"{100 * share:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """``3.2 s``, ``45 s``, ``4 min 05 s`` or ``1 h 02 min``."""
    if seconds is None:
        return NOTHING
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def count(number: int | None) -> str:
    """``9,130``, ``512 k`` or ``11.2 M``."""
    if number is None:
        return NOTHING
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1e3:.0f} k" if number < 999_500 else f"{number / 1e6:.1f} M"


def value(setting: Any) -> str:
    """A hyperparameter: floats to three digits."""
    return f"{setting:.3g}" if isinstance(setting, float) else str(setting)


def plural(number: int, noun: str) -> str:
    """``1 trial``, ``2 trials``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
