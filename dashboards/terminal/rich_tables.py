"""Rich tables for the terminal; all fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from ...objectives.data import describe_faults
from ...search.analysis import DataCurve, Truncation, Verdict
from ...search.study import StudyResults
from ..tables import Column, TextTable, curve_rows, leak_rows, status_rows, truncation_rows, verdict_rows

_NARROW = 80


def verdict_table(verdict: Verdict) -> RenderableType:
    """Return the table of finalists: score, gap to the leader, cost, and marks of the winner and ties."""
    return _rich_table(verdict_rows(verdict))


def print_verdict(console: Console, verdict: Verdict, warnings: Sequence[str] = ()) -> None:
    """Print the verdict as a sentence and a table, then the warnings."""
    console.print(Text(verdict.sentence(), style="bold"))
    console.print()
    console.print(verdict_table(verdict))
    for warning in warnings:
        console.print()
        console.print(Text(f"Note: {warning}"))


def print_faults(console: Console, results: StudyResults) -> None:
    """Print the faults of the data, and the scores without leaked test images; nothing where there are none."""
    faults, verdict = results.data_faults, results.verdict
    said = describe_faults(faults, results.facts.classes) if faults else ""
    if verdict is not None and results.never_right:
        said += (
            f" {verdict.winner.strategy} gets no test image of these classes right: {', '.join(results.never_right)}."
        )
    if said:
        console.print()
        console.print(Text(f"Faults in the data: {said.strip()}"))
    if verdict is not None and verdict.leaks is not None:
        console.print()
        console.print(_rich_table(leak_rows(verdict, verdict.leaks)))


def print_textbook(console: Console, results: StudyResults) -> None:
    """Print the textbook's advice and what became of it; nothing where there is none."""
    if results.textbook is not None:
        console.print()
        console.print(Text(results.textbook.sentence()))


def print_curve(console: Console, curve: DataCurve) -> None:
    """Print where strategies overtake feature extraction, what more images would gain, and the curve as a table."""
    for crossover in curve.crossovers:
        console.print(Text(crossover.sentence(), style="bold" if crossover.significant else ""))
    for projection in curve.projections:
        console.print(Text(projection.sentence()))
    console.print()
    console.print(_rich_table(curve_rows(curve)))


def print_truncation(console: Console, truncation: Truncation) -> None:
    """Print which smaller network is as good, then what each cut scores and costs."""
    console.print(Text(truncation.sentence(), style="bold"))
    console.print()
    console.print(_rich_table(truncation_rows(truncation)))


def status_table(results: StudyResults) -> RenderableType:
    """Return the table of a study's strategies: trials by state, best score, time."""
    return _rich_table(status_rows(results))


def text_table(titles: Sequence[str], rows: Sequence[tuple[str, ...]]) -> RenderableType:
    """Return a table of a text column and number columns."""
    return _rich_table(TextTable(tuple(Column(title, place > 0) for place, title in enumerate(titles)), tuple(rows)))


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
    """Wrap a title so that it is no wider than the cells below it."""
    width = max(map(len, [*cells, *title.split(), "-"]))
    return "\n".join(textwrap.wrap(title, width))


def plain_table(gap: int) -> Table:
    """Return an empty table in the common style, with ``gap`` spaces between columns."""
    # The box adds one space between columns.
    return Table(box=box.SIMPLE_HEAD, padding=(0, gap - 1, 0, 0), show_edge=False, pad_edge=False)
