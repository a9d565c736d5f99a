"""The command that runs the data-size curve.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer

from .application import describe_results, locate, observer_of
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
            help="Training-set sizes: numbers of images or shares, such as 50,100 or 1/8,0.5.",
            show_default="1/8,1/4,1/2",
        ),
    ] = "",
    seeds: Annotated[
        int | None,
        typer.Option("--seeds", help="Trainings (seeds) at each size.", show_default="as many as the study's finals"),
    ] = None,
    *,
    resources: ResourceValues,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retrain each strategy's best on smaller training sets: where does it overtake feature extraction?"""
    from ..execution import run_curve
    from ..slots import Resources

    place, observer = locate(workspace, storage, artifacts), observer_of(ctx, as_json)
    wanted = [text.strip() for text in sizes.split(",") if text.strip()]
    ended = run_curve(study, place, observer, sizes=wanted, seeds=seeds, resources=Resources(**resources))
    if as_json:
        typer.echo(f"Report:  {ctx.obj.report(ended)}", err=True)
        typer.echo(json.dumps(describe_results(ended.results()), indent=2))
    else:
        ctx.obj.curve(ended)
