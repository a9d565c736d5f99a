"""Small SVG panels of hyperparameter effects; sixty Plotly charts would be slow."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from ..charts import span
from ..palette import look
from ..tables import TextTable
from .effects import Effect, Point, ScoreGroup, StrategyEffects, effect_rows, medians, searched

# Sizes of a panel and its plot in SVG units, about one pixel each.
WIDTH, HEIGHT = 200, 142
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 194, 6, 110
# Number of trials in a panel above which dots are smaller.
_CROWD = 60
# Minimum number of trials for a median: with fewer it would look more certain than it is.
MIN_FOR_MEDIAN = 3
# Share of a value's column over which its dots are spread, so that they do not hide each other.
_SPREAD = 0.5
_MAX_LABEL = 26


@dataclass(frozen=True)
class Panel:
    """The panel of one parameter: name, explained variance, description in words, and SVG."""

    name: str
    explained: float | None
    words: str
    svg: str


@dataclass(frozen=True)
class PanelGroup:
    """The panels of a strategy, with the table of their numbers."""

    own: StrategyEffects
    panels: tuple[Panel, ...]
    data: TextTable


def create_panels(effects: Sequence[StrategyEffects]) -> list[PanelGroup]:
    """Return the panels of each strategy; those of one strategy share a score axis."""
    return [PanelGroup(own, tuple(_panels(own)), effect_rows(own)) for own in effects]


def _panels(own: StrategyEffects) -> Iterator[Panel]:
    scale = span([point.score for effect in own.effects for point in effect.points])
    for effect in own.effects:
        words = f"{effect.name}: searched {searched(effect)}; median validation score by part: {medians(effect)}"
        yield Panel(effect.name, effect.explained, words, draw_panel(own.strategy, effect, scale, words))


def draw_panel(strategy: str, effect: Effect, scale: Sequence[float], words: str) -> str:
    """Return a panel as an SVG element.

    Args:
        strategy: Name of the strategy, which sets the color.
        effect: Effect to draw.
        scale: Lowest and highest score of the axis, in percent.
        words: Description for screen readers.
    """
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(words)}">',
        *_score_axis(scale),
        *_domain_axis(effect),
        _dots(effect, scale, look(strategy).color, pruned=True),
        _dots(effect, scale, look(strategy).color, pruned=False),
        *(_median(group, scale) for group in effect.groups if group.trials >= MIN_FOR_MEDIAN),
        "</svg>",
    ]
    return "".join(parts)


def _score_axis(scale: Sequence[float]) -> Iterator[str]:
    low, high = math.ceil(max(0.0, scale[0])), math.floor(min(100.0, scale[1]))
    for score in (low, (low + high) // 2, high):
        y = _y(score, scale)
        yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>'
        yield f'<text x="{_LEFT - 4}" y="{y + 4:.1f}" text-anchor="end">{score}</text>'


def _domain_axis(effect: Effect) -> Iterator[str]:
    yield f'<path class="axis" d="M{_LEFT} {_BOTTOM}H{_RIGHT}"/>'
    y = _BOTTOM + 15
    if effect.named:
        room = _MAX_LABEL // len(effect.groups)
        for group in effect.groups:
            middle = _x((group.start + group.end) / 2)
            for line, part in enumerate(_broken(group.label, room)):
                yield f'<text x="{middle:.1f}" y="{y + 12 * line}" text-anchor="middle">{escape(part)}</text>'
        return
    yield f'<text x="{_LEFT}" y="{y}">{escape(effect.ends[0])}</text>'
    if effect.log:
        yield f'<text x="{(_LEFT + _RIGHT) / 2}" y="{y}" text-anchor="middle">log</text>'
    yield f'<text x="{_RIGHT}" y="{y}" text-anchor="end">{escape(effect.ends[1])}</text>'


def _broken(label: str, room: int) -> list[str]:
    """On two lines where it is long and has an underscore; what is longer still is cut."""
    parts = [label] if len(label) <= room else label.replace("_", "_ ", 1).split(" ", 1)
    return [part if len(part) <= room else part[: room - 1] + "…" for part in parts]


def _dots(effect: Effect, scale: Sequence[float], color: str, *, pruned: bool) -> str:
    """All as one path of strokes without length, which round caps make dots: a thousand stay small."""
    own = [point for point in effect.points if point.pruned == pruned]
    # Half a pixel cannot be seen; with many trials the digits would be most of the page.
    size, digits = (4, 0) if len(effect.points) > _CROWD else (6, 1)
    places = "".join(f"M{_x(_spread(effect, point)):.{digits}f} {_y(point.score, scale):.{digits}f}h0" for point in own)
    kind = "pruned" if pruned else "dots"
    return f'<path class="{kind}" stroke="{color}" stroke-width="{size}" d="{places}"/>' if own else ""


def _spread(effect: Effect, point: Point) -> float:
    """Return the place of a dot, shifted within a value's column by a hash of its number, equal in all reports."""
    if not effect.named:
        return point.place
    return point.place + _SPREAD / len(effect.groups) * (zlib.crc32(str(point.number).encode()) / 2**32 - 0.5)


def _median(group: ScoreGroup, scale: Sequence[float]) -> str:
    assert group.median is not None
    y = _y(group.median, scale)
    return f'<path class="median" d="M{_x(group.start) + 2:.1f} {y:.1f}H{_x(group.end) - 2:.1f}"/>'


def _x(place: float) -> float:
    return _LEFT + place * (_RIGHT - _LEFT)


def _y(score: float, scale: Sequence[float]) -> float:
    low, high = scale
    return _BOTTOM - (score - low) / (high - low) * (_BOTTOM - _TOP)
