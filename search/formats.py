"""Numbers and names formatted for people."""

from __future__ import annotations

import re
from typing import Any

NOTHING = "–"
# An underscore within a word is no markup. Entities show in tables, too, and where other characters follow.
_MARKUP = re.compile(r"[&<>`|*~$\\\[\]]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def percent(share: float | None) -> str:
    """Return a share as a percentage.

    Examples:
        >>> from frostline.search.formats import percent
        >>> percent(0.9134), percent(None)
        ('91.3 %', '–')
    """
    return NOTHING if share is None else f"{100 * share:.1f} %"


def points(share: float) -> str:
    """Return a difference of shares in percentage points, with a typographic minus.

    Examples:
        >>> from frostline.search.formats import points
        >>> points(-0.012), points(0.0004)
        ('−1.2', '0.0')
    """
    text = f"{100 * share:.1f}"
    return "0.0" if text == "-0.0" else text.replace("-", "−")


def duration(seconds: float | None) -> str:
    """Return a duration in the largest fitting unit.

    Args:
        seconds: Duration in seconds; None if unknown.

    Examples:
        >>> from frostline.search.formats import duration
        >>> [duration(seconds) for seconds in (0.02, 3.21, 45, 245, 3720)]
        ['< 0.1 s', '3.2 s', '45 s', '4 min 05 s', '1 h 02 min']
    """
    if seconds is None:
        return NOTHING
    if 0 < seconds < 0.05:
        return "< 0.1 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def latency(seconds: float | None) -> str:
    """Return the time of a forward pass in milliseconds, with two digits or all before the point.

    Examples:
        >>> from frostline.search.formats import latency
        >>> latency(0.00412), latency(0.1234), latency(None)
        ('4.1 ms', '123 ms', '–')
    """
    if seconds is None:
        return NOTHING
    if seconds >= 0.00995:
        return f"{1000 * seconds:,.0f} ms"
    return f"{1000 * seconds:.1f} ms" if seconds >= 0.000995 else f"{1000 * seconds:.2g} ms"


def megabytes(size: int | None) -> str:
    """Return a size in megabytes (10^6 bytes), with two digits or all before the point.

    Examples:
        >>> from frostline.search.formats import megabytes
        >>> megabytes(44_780_000), megabytes(5_000_000), megabytes(8208), megabytes(None)
        ('45 MB', '5.0 MB', '0.0082 MB', '–')
    """
    if size is None:
        return NOTHING
    if size >= 9_950_000:
        return f"{size / 1e6:,.0f} MB"
    return f"{size / 1e6:.1f} MB" if size >= 995_000 else f"{size / 1e6:.2g} MB"


def count(number: int | None) -> str:
    """Return a count, shortened from 10,000 on.

    Examples:
        >>> from frostline.search.formats import count
        >>> count(9130), count(512_000), count(11_200_000)
        ('9,130', '512 k', '11.2 M')
    """
    if number is None:
        return NOTHING
    if number < 10_000:
        return f"{number:,}"
    return f"{number / 1e3:.0f} k" if number < 999_500 else f"{number / 1e6:.1f} M"


def value(setting: Any) -> str:
    """Return a hyperparameter as text, floats with three digits.

    Examples:
        >>> from frostline.search.formats import value
        >>> value(0.00123456), value("adamw")
        ('0.00123', 'adamw')
    """
    return f"{setting:.3g}" if isinstance(setting, float) else str(setting)


def with_interval(share: float, interval: tuple[float, float]) -> str:
    """Return a share of 1 with its interval, in percentage points.

    Examples:
        >>> from frostline.search.formats import with_interval
        >>> with_interval(0.012, (-0.004, 0.03))
        '1.2 [−0.4, 3.0]'
    """
    low, high = map(points, interval)
    return f"{points(share)} [{low}, {high}]"


def plural(number: int, noun: str) -> str:
    """Return a number with its noun in the singular or plural.

    Examples:
        >>> from frostline.search.formats import plural
        >>> plural(1, "trial"), plural(2000, "trial")
        ('1 trial', '2,000 trials')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_markdown(name: str) -> str:
    """Return a name from the data so that Markdown shows it as text: no HTML, no markup.

    Examples:
        >>> from frostline.search.formats import in_markdown
        >>> in_markdown("night-heron_2.v1"), in_markdown("<b> | [a](b)")
        ('night-heron_2.v1', '&lt;b&gt; &#124; &#91;a&#93;(b)')
    """
    return _MARKUP.sub(lambda found: _ENTITIES.get(found[0], f"&#{ord(found[0])};"), name)


def markdown_code(name: str) -> str:
    """Return a name from the data as code in Markdown.

    Examples:
        >>> from frostline.search.formats import markdown_code
        >>> markdown_code("heron"), markdown_code("a`b")
        ('`heron`', '<code>a&#96;b</code>')
    """
    shown = in_markdown(name)
    # Between backticks, entities would show as they are written.
    return f"`{name}`" if shown == name else f"<code>{shown}</code>"
