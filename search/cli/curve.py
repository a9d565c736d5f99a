"""The command for the data-size curve.

Heavy imports wait inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .app import describe_results, locate, observer_of
from .options import (
    LOCAL_RESOURCES,
    ArtifactsOption,
    JsonOption,
    ResourceValues,
    StorageOption,
    StudyArgument,
    WorkspaceOption,
    resource_options,
)


@resource_options(*LOCAL_RESOURCES)
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
    *,
    resources: ResourceValues,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train each strategy's best on fewer and fewer images: from how many on does it beat feature extraction?"""
    from ..execution.curve_trainings import run_curve
    from ..execution.supervisor import Resources

    place, observer = locate(workspace, storage, artifacts), observer_of(ctx, as_json)
    wanted = [text.strip() for text in sizes.split(",") if text.strip()]
    ended = run_curve(study, place, observer, sizes=wanted, seeds=seeds, resources=Resources(**resources))
    if as_json:
        typer.echo(f"Report:  {ctx.obj.report(ended)}", err=True)
        typer.echo(json.dumps(describe_results(ended.results()), indent=2))
    else:
        ctx.obj.curve(ended)
