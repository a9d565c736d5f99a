"""Tables of what there is: studies of a workspace, backbones, one backbone's units."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from ...objectives.backbones.backbone import Backbone
from ...objectives.backbones.torchvision_models import BackboneInfo
from ...search.records import finished
from ...search.study.results import StudyResults
from ..formats import count, percent


def _table(*columns: str, text: tuple[str, ...], title: str | None = None) -> Table:
    """Columns of text are on the left and fold where the terminal is narrow; the others are numbers."""
    table = Table(title=title, title_justify="left", box=None, header_style="bold", pad_edge=False)
    for column in columns:
        justify = "left" if column in (columns[0], *text) else "right"
        table.add_column(column, justify=justify, no_wrap=column not in text, overflow="fold")
    return table


def studies_table(every: Sequence[StudyResults]) -> Table:
    """A line a study: budget spent and the winner, if there is one."""
    table = _table("study", "trials", "best validation", "winner", "test", text=("study",))
    for results in every:
        best = max((summary.best.score or 0.0 for summary in results.summaries if summary.best), default=None)
        verdict = results.verdict
        table.add_row(
            results.settings.name,
            f"{finished(results.trials)}/{results.settings.trials}",
            percent(best),
            verdict.winner.strategy if verdict else "-",
            percent(verdict.winner.mean) if verdict else "-",
        )
    return table


def backbones_table(every: Sequence[BackboneInfo]) -> Table:
    """A line a model: size, cost, input and published weights."""
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
    """A line a unit, with the share of parameters and forward FLOPs that is frozen if it is the last frozen one."""
    title = f"{backbone.name}: what freezing up to and including a unit freezes"
    table = _table("unit", "depth", "kind", "output", "parameters", "frozen", "FLOPs", text=("unit",), title=title)
    for depth, unit in enumerate(backbone.units, start=1):
        parameters, flops = backbone.frozen_share(depth)
        shape = "x".join(map(str, unit.output_shape))
        table.add_row(
            unit.name, str(depth), unit.kind, shape, count(unit.parameters), percent(parameters), percent(flops)
        )
    return table
