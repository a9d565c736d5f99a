"""Tables of a workspace's studies, of backbones, and of a backbone's units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from ...search.formats import count, percent
from ...search.records import finished
from ...search.study import StudyResults

if TYPE_CHECKING:
    from ...objectives.backbones import Backbone, BackboneInfo


def _table(*columns: str, text: tuple[str, ...], title: str | None = None) -> Table:
    """Return an empty table. Text columns are left-aligned and fold in narrow terminals; numbers are right-aligned."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        justify = "left" if column in (columns[0], *text) else "right"
        table.add_column(column, justify=justify, no_wrap=column not in text, overflow="fold")
    return table


def studies_table(every: Sequence[StudyResults]) -> Table:
    """Return a table with a row for each study: trials done, best score, and the winner if there is a verdict."""
    table = _table("study", "trials", "best validation", "winner", "test", text=("study",))
    for results in every:
        best = max((summary.best.score or 0.0 for summary in results.summaries if summary.best), default=None)
        verdict = results.verdict
        table.add_row(
            results.settings.name,
            f"{finished(results.trials)}" + (f"/{limit}" if (limit := results.settings.trials) else ""),
            percent(best),
            verdict.winner.strategy if verdict else "-",
            percent(verdict.winner.mean) if verdict else "-",
        )
    return table


def backbones_table(every: Sequence[BackboneInfo]) -> Table:
    """Return a table with a row for each backbone: size, cost, input size and published weights."""
    table = _table("backbone", "parameters", "GFLOPs", "pixels", "at least", "weights", text=("weights",))
    for info in every:
        table.add_row(
            info.name,
            count(info.parameters),
            f"{info.gflops:.2f}",
            str(info.image_size),
            str(info.min_image_size),
            " ".join(info.weights),
        )
    return table


def units_table(backbone: Backbone) -> Table:
    """Return a table with a row for each unit, with the share of parameters and FLOPs frozen up to and including it."""
    title = f"{backbone.name}: what freezing up to and including a unit freezes"
    table = _table("unit", "depth", "kind", "output", "parameters", "frozen", "FLOPs", text=("unit",), title=title)
    for depth, unit in enumerate(backbone.units, start=1):
        parameters, flops = backbone.frozen_share(depth)
        shape = "x".join(map(str, unit.output_shape))
        table.add_row(
            unit.name, str(depth), unit.kind, shape, count(unit.parameters), percent(parameters), percent(flops)
        )
    return table
