"""The command for the data-size curve.

Heavy imports wait inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .cli import describe_results, locate, observer_of
from .cli_care import app
from .cli_options import (
    ArtifactsOption,
    CacheOption,
    DeviceOption,
    JsonOption,
    RetriesOption,
    SlotsOption,
    StorageOption,
    StudyArgument,
    WorkersOption,
    WorkspaceOption,
)


@app.command()
def curve(
    ctx: typer.Context,
    study: StudyArgument,
    sizes: Annotated[
        str,
        typer.Option(
            "--sizes",
            help="Numbers of training images, or shares of them: 50,100 or 1/8,0.5.",
            show_default="1/8,1/4,1/2",
        ),
    ] = "",
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", help="Trainings at each size.", show_default="as many as the study's finals"),
    ] = None,
    device: DeviceOption = "auto",
    cache_budget: CacheOption = "auto",
    workers: WorkersOption = None,
    slots_per_gpu: SlotsOption = 1,
    retries: RetriesOption = 1,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train each strategy's best on fewer and fewer images: from how many on does it beat feature extraction?"""
    from .curve_trainings import run_curve
    from .slots import Resources

    place, resources = (
        locate(workspace, storage, artifacts),
        Resources(device, cache_budget, workers, slots_per_gpu, retries=retries),
    )
    wanted = [text.strip() for text in sizes.split(",") if text.strip()]
    ended = run_curve(study, place, observer_of(ctx, as_json), sizes=wanted, seeds=seeds, resources=resources)
    if as_json:
        typer.echo(f"Report:  {ctx.obj.report(ended)}", err=True)
        typer.echo(json.dumps(describe_results(ended.results()), indent=2))
    else:
        ctx.obj.curve(ended)
