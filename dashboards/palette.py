"""One colour and one symbol per strategy, the same in the terminal and in every chart."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from ..objectives.strategies.catalog import BUILT_IN, STRATEGIES

# Okabe-Ito, its orange, vermilion and grey moved until each has 3:1 contrast on white and on the dark page.
# Neighbours also differ in symbol, so that nothing hangs on colour alone.
_COLOURS = ("#0072B2", "#C97B00", "#D1495B", "#009E73", "#7A7A7A", "#7B5FD3", "#6B8E23", "#A0522D")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross", "star", "hexagon")


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn.

    Attributes:
        colour: As #RRGGBB.
        symbol: A Plotly marker; with ``-open`` appended it is the hollow one.
    """

    colour: str
    symbol: str


def look(strategy: str | None) -> Look:
    """The look of a strategy; a plugin's is the same whether the plugin is there or not."""
    names = [name for name in STRATEGIES if name in BUILT_IN]
    # As many pairs of colour and symbol as there are; by their names, plugins' strategies share what is left.
    left = len(_COLOURS) * len(_SYMBOLS) - len(names)
    place = names.index(strategy) if strategy in names else len(names) + zlib.crc32(str(strategy).encode()) % left
    # Past the last colour the symbols shift by one, so that the pairs stay distinct.
    lap = place // len(_COLOURS)
    return Look(_COLOURS[place % len(_COLOURS)], _SYMBOLS[(place + lap) % len(_SYMBOLS)])
