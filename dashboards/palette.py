"""The color and symbol of each strategy, the same in the terminal and in every chart."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from ..objectives.strategies import BUILT_IN, STRATEGIES

# Okabe-Ito, with orange, vermilion and gray changed so that each has 3:1 contrast on white and on the dark page.
# Neighbors also differ in symbol, so that no distinction depends on color alone.
_COLORS = ("#0072B2", "#C97B00", "#D1495B", "#009E73", "#7A7A7A", "#7B5FD3", "#6B8E23", "#A0522D")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon")


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn.

    Attributes:
        color: Color as ``#RRGGBB``.
        symbol: Name of a Plotly marker; with ``-open`` appended it names the hollow one.
    """

    color: str
    symbol: str


def look(strategy: str | None) -> Look:
    """Return the look of a strategy. A plugin's strategy keeps its look when the plugin is not loaded.

    Args:
        strategy: Name of the strategy.

    Examples:
        >>> from frostline.dashboards.palette import look
        >>> look("feature_extraction").symbol
        'circle'
        >>> look("my_plugin") == look("my_plugin")
        True
    """
    names = [name for name in STRATEGIES if name in BUILT_IN]
    # Built-in strategies take the first pairs of color and symbol; plugins' share the others, by a hash of the name.
    left = len(_COLORS) * len(_SYMBOLS) - len(names)
    place = names.index(strategy) if strategy in names else len(names) + zlib.crc32(str(strategy).encode()) % left
    # Each further round through the colors shifts the symbols by one, so that all pairs differ.
    lap = place // len(_COLORS)
    return Look(_COLORS[place % len(_COLORS)], _SYMBOLS[(place + lap) % len(_SYMBOLS)])
