"""The live view in a notebook: one output that changes, with what the terminal shows."""

from __future__ import annotations

from typing import Any

import pytest
from rich.text import Text

from frostline.dashboards.terminal.notebook import NotebookProgress, to_html, to_text
from frostline.dashboards.views import TerminalViews

from ..conftest import HOSTILE, make_settings


class Cell:
    """The output of a notebook's cell."""

    def __init__(self) -> None:
        self.pages: list[dict[str, str]] = []

    def __call__(self, page: dict[str, str], **_: Any) -> Cell:
        self.pages.append(page)
        return self

    update = __call__


def test_one_output_shows_the_trials_and_stays(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    cell = Cell()
    monkeypatch.setattr("frostline.dashboards.terminal.notebook._INTERVAL", 0.0)
    progress = NotebookProgress(cell)
    progress.study_started(make_settings(trials=25), [])
    progress.trial_started(3, "partial", 12)
    progress.note("left out broken.jpg")
    progress.close()
    assert len(cell.pages) >= 3
    last = cell.pages[-1]["text/plain"]
    assert "trials 0/25" in last
    assert "trial 3 partial: epoch 0/12" in last
    assert "trials 0/25" in cell.pages[-1]["text/html"]
    assert capsys.readouterr().out == "note: left out broken.jpg\n"


def test_a_fast_search_does_not_flood_the_notebook() -> None:
    cell = Cell()
    progress = NotebookProgress(cell)
    progress.study_started(make_settings(), [])
    for number in range(200):
        progress.trial_started(number, "full", 1)
    assert len(cell.pages) < 5


def test_html_escapes_what_users_write() -> None:
    assert "<script" not in to_html([Text(HOSTILE)])
    assert HOSTILE in to_text([Text(HOSTILE)])


def test_notebooks_get_this_view(monkeypatch: pytest.MonkeyPatch) -> None:
    views: Any = TerminalViews()
    monkeypatch.setattr(views._console, "is_jupyter", True)
    assert isinstance(views.observer(), NotebookProgress)
