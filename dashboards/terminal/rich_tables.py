"""The tables printed in a terminal; all fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ...search.analysis.data_curve import DataCurve
from ...search.analysis.verdict import Verdict
from ...search.study.results import StudyResults
from ..tables import TextTable, curve_rows, status_rows, verdict_rows

_NARROW = 80


def verdict_table(verdict: Verdict) -> RenderableType:
    """The finalists in a table: score, distance to the leader, cost, who wins and who ties."""
    return _rich_table(verdict_rows(verdict))


def print_verdict(console: Console, verdict: Verdict) -> None:
    """The verdict in words, then its table."""
    console.print(Text(verdict.sentence(), style="bold"))
    console.print()
    console.print(verdict_table(verdict))


def print_curve(console: Console, curve: DataCurve) -> None:
    """Where strategies overtake feature extraction, in words, then the curve as a table."""
    for crossover in curve.crossovers:
        console.print(Text(crossover.sentence(), style="bold" if crossover.sure else ""))
    console.print()
    console.print(_rich_table(curve_rows(curve)))


def status_table(results: StudyResults) -> RenderableType:
    """Where each strategy of a study stands."""
    return _rich_table(status_rows(results))


def _rich_table(content: TextTable) -> Table:
    titles = [_fold(column.title, [row[place] for row in content.rows]) for place, column in enumerate(content.columns)]
    widths = [
        max(map(len, [*title.splitlines(), *(row[place] for row in content.rows)]))
        for place, title in enumerate(titles)
    ]
    table = plain_table(gap=2 if sum(widths) + 2 * len(widths) <= _NARROW else 1)
    for column, title in zip(content.columns, titles, strict=True):
        table.add_column(Text(title), justify="right" if column.numeric else "left", no_wrap=True)
    for place, row in enumerate(content.rows):
        table.add_row(*map(Text, row), style="bold" if place == content.emphasised else None)
    return table


def _fold(title: str, cells: Sequence[str]) -> str:
    """A title on as many lines as it takes to be no wider than the cells below it."""
    width = max(map(len, [*cells, *title.split(), "-"]))
    return "\n".join(textwrap.wrap(title, width))


def plain_table(gap: int) -> Table:
    """An empty table in the style of all, with so many spaces between columns."""
    # The box itself draws one space between columns.
    return Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), show_edge=False, pad_edge=False)
