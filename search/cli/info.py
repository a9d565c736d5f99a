"""The commands that train nothing: status, sync, backbones, space, portfolio.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..collector import collection_paused
from .application import describe_results, locate
from .options import JsonOption, PluginOption, StorageOption, WorkspaceOption, listing_options

if TYPE_CHECKING:
    from ...objectives.backbones import Backbone
    from ...storage.workspace import Workspace


def status(
    ctx: typer.Context,
    study: Annotated[str | None, typer.Argument(help="Name of the study.", show_default="all of the workspace")] = None,
    watched: Annotated[
        bool, typer.Option("--watch", help="Follow the study live until it ends; Ctrl-C stops watching.")
    ] = False,
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of one study, or of all in the workspace."""
    place = locate(workspace, storage)
    if watched:
        _watch(ctx, study, place, as_json)
        return
    with collection_paused():
        _print_status(ctx, study, place, as_json)


def _print_status(ctx: typer.Context, study: str | None, place: Workspace, as_json: bool) -> None:
    from ..study import Study, progress_sentence, study_names

    names = [study] if study else study_names(place)
    every = [Study.load(name, place).results() for name in names]
    if as_json:
        described = [describe_results(results) for results in every]
        typer.echo(json.dumps(described[0] if study else described, indent=2))
    elif study:
        ctx.obj.results(every[0])
        if said := progress_sentence(every[0], place.option):
            typer.echo(f"\n{said}")
    elif every:
        ctx.obj.studies(every)
    else:
        typer.echo(f"There are no studies in {place.root}. Start one with: frostline search DATA")


def _watch(ctx: typer.Context, name: str | None, place: Workspace, as_json: bool) -> None:
    from ...objectives.errors import InvalidInputError
    from ..study import Study, study_names, watch_study

    faults = ["--watch and --json cannot be combined: leave one out."] if as_json else []
    if name is None:
        known = ", ".join(study_names(place)) or "none yet; start one with: frostline search DATA"
        faults.append(f"--watch takes the name of a study: frostline status STUDY --watch. There are: {known}")
    if name is None or faults:
        raise InvalidInputError(faults)
    study = Study.load(name, place)
    said = watch_study(study, ctx.obj.observer())
    ctx.obj.results(study.results())
    if said:
        typer.echo(said)


def sync(
    study: Annotated[str | None, typer.Argument(help="Name of the study.", show_default="all of the workspace")] = None,
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Upload log records that MLflow has not received."""
    from ..study import Study, study_names
    from ..tracking import sync_studies

    place = locate(workspace, storage)
    names = [study] if study else study_names(place)
    sync_studies([Study.load(name, place) for name in names], typer.echo)


def backbones(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(help="Network to show the units of; also timm:NAME or my_module:factory.", show_default=False),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option("--image-size", help="Image side in pixels, for the FLOPs.", show_default="the model's own"),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List backbones, or one backbone's units with the share of parameters and FLOPs frozen at each depth."""
    from dataclasses import asdict

    from ...objectives.backbones import GIVEN, backbone_table, bare_backbone, check_backbone, preprocessing_for
    from ...objectives.config import BackboneSpec
    from ...objectives.preprocessing import DEFAULT_SIZE

    if name is None:
        _show(as_json, lambda: [asdict(info) for info in backbone_table()], ctx.obj.backbones)
        return
    check_backbone(BackboneSpec(name, "none", image_size or DEFAULT_SIZE))
    size = preprocessing_for(name, "none", image_size).image_size
    # As a search builds it, whose weights need not be drawn or downloaded to see the units.
    backbone = bare_backbone(BackboneSpec(name, GIVEN, size))
    _show(as_json, lambda: _describe_units(backbone), lambda: ctx.obj.units(backbone))


@listing_options
def space(
    data: Annotated[
        str | None, typer.Argument(help="Dataset whose size sets the epochs.", show_default="1,000 images")
    ] = None,
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", "-s", help="Strategy to print; repeatable.", show_default=False),
    ] = None,
    plugin: PluginOption = None,
    workspace: WorkspaceOption = None,
    *,
    listing: dict[str, Any],
) -> None:
    """Print the default search space as a TOML file to edit."""
    from ...objectives.errors import InvalidInputError
    from ..limits import number_faults
    from ..space import COMPETING, create_space, default_tables, load_plugins, write_space

    if faults := number_faults({"--channels": listing["channels"]}):
        raise InvalidInputError(faults)
    brought = load_plugins(plugin or ())
    tables = default_tables(_train_images(data, listing, locate(workspace))) if data else default_tables()
    chosen = create_space(tables).only(strategy or (*COMPETING, *brought)).strategies
    typer.echo(write_space({name: table for name, table in tables.items() if name == "shared" or name in chosen}))


def portfolio(
    file: Annotated[Path, typer.Argument(help="File to write, for `frostline search --prior FILE`.")],
    storage: StorageOption = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Write the best configurations of the workspace's finished studies as JSON."""
    from ..study import write_portfolio

    place = locate(workspace, storage)
    written = write_portfolio(place, file)
    typer.echo(f"{file}: {', '.join(each.name for each in written.studies)}")


def _train_images(data: str, listing: dict[str, Any], place: Workspace) -> int:
    # Datasets load torch; the space of no dataset in particular does without.
    from ...objectives.data import ListingOptions
    from ..study import train_images

    return train_images(data, place, ListingOptions(**listing))


def _show(as_json: bool, describe: Any, view: Any) -> None:
    if as_json:
        typer.echo(json.dumps(describe(), indent=2))
    else:
        view()


def _describe_units(backbone: Backbone) -> list[dict[str, Any]]:
    from dataclasses import asdict

    shares = [backbone.frozen_share(depth) for depth in range(1, len(backbone.units) + 1)]
    return [
        {"freeze_depth": depth, **asdict(unit), "frozen_parameters": parameters, "frozen_flops": flops}
        for depth, (unit, (parameters, flops)) in enumerate(zip(backbone.units, shares, strict=True), start=1)
    ]
