"""The sheet of the worst errors: images with their true and predicted classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from ...objectives.data import visible
from ..analysis import Mistake

if TYPE_CHECKING:
    from ...objectives.data import ImageSplit

_COLUMNS, _SIDE, _CAPTION, _GAP = 4, 160, 40, 8
_FONT_SIZE = 13


def mistake_sheet(mistakes: Sequence[Mistake], split: ImageSplit) -> Image.Image:
    """Draw errors four in a row, the worst first.

    Args:
        mistakes: Errors on images of this split, at least one.
        split: Split with the images.
    """
    rows = -(-len(mistakes) // _COLUMNS)
    columns = min(_COLUMNS, len(mistakes))
    size = (columns * (_SIDE + _GAP) + _GAP, rows * (_SIDE + _CAPTION + _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    for place, mistake in enumerate(mistakes):
        row, column = divmod(place, _COLUMNS)
        _draw(sheet, mistake, split, (_GAP + column * (_SIDE + _GAP), _GAP + row * (_SIDE + _CAPTION + _GAP)))
    return sheet


def _draw(sheet: Image.Image, mistake: Mistake, split: ImageSplit, corner: tuple[int, int]) -> None:
    left, top = corner
    picture = Image.fromarray(visible(split.canvas[split.indices[mistake.image]]))
    sheet.paste(picture.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), corner)
    font, draw = ImageFont.load_default(_FONT_SIZE), ImageDraw.Draw(sheet)
    lines = (
        (f"is {split.classes[mistake.label]}, {mistake.label_probability:.0%}", "#444444"),
        (f"taken for {split.classes[mistake.predicted]}, {mistake.probability:.0%}", "#b00020"),
    )
    for number, (text, color) in enumerate(lines):
        draw.text((left, top + _SIDE + 3 + number * (_FONT_SIZE + 4)), _fitting(text, draw, font), color, font)


def _fitting(text: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return a text shortened to the width of an image."""
    while len(text) > 1 and draw.textlength(text, font) > _SIDE:
        text = text[:-2] + "…"
    return text
