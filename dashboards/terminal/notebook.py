"""The live view in a notebook, and a study as HTML: what the terminal shows, in the output of a cell."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console, RenderableType

from .live import draw
from .live_state import LiveState

_WIDTH = 100
# A notebook keeps what is sent to it until the browser draws it.
_INTERVAL = 0.5
_CELL = (
    '<pre style="white-space:pre;overflow-x:auto;line-height:1.25;'
    "font-family:Menlo,'DejaVu Sans Mono',consolas,'Courier New',monospace\">{code}</pre>"
)


class NotebookProgress(LiveState):
    """The live view of a running study in the output of the cell that runs it; it stays when the study ends.

    Args:
        display: IPython's ``display``; None imports it.
    """

    def __init__(self, display: Any = None) -> None:
        super().__init__()
        if display is None:
            from IPython.display import display
        self._display = display
        self._shown: Any = None
        self._drawn = 0.0
        self._closed = False

    def note(self, message: str) -> None:
        print(f"note: {message}", flush=True)

    def changed(self) -> None:
        if time.monotonic() - self._drawn >= _INTERVAL:
            self._draw()

    def seconds_left(self) -> float | None:
        return None if self._closed else super().seconds_left()

    def close(self) -> None:
        self._closed = True
        if self._shown is not None:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        with self.lock:
            page = {"text/html": to_html(draw(self)), "text/plain": to_text(draw(self))}
        if self._shown is None:
            self._shown = self._display(page, raw=True, display_id=True)
        else:
            self._shown.update(page, raw=True)


def to_html(parts: Iterable[RenderableType]) -> str:
    """Return what Rich prints as HTML that needs no style sheet."""
    console = _recorder()
    for part in parts:
        console.print(part)
    return console.export_html(inline_styles=True, code_format=_CELL)


def to_text(parts: Iterable[RenderableType]) -> str:
    """Return what Rich prints, without colors."""
    console = _recorder()
    for part in parts:
        console.print(part)
    return console.export_text()


def _recorder() -> Console:
    # In a notebook, Rich would display each part at once; names of the user's are no markup.
    return Console(
        file=io.StringIO(),
        width=_WIDTH,
        record=True,
        force_jupyter=False,
        color_system="truecolor",
        force_terminal=True,
        markup=False,
        highlight=False,
        emoji=False,
    )
