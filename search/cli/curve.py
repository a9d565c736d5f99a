"""The command that runs the data-size curve.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .application import end, observer_of
from .options import (
    LOCAL_RESOURCES,
    CommonValues,
    ResourceValues,
    StudyArgument,
    common_options,
    resource_options,
)


@common_options
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
    common: CommonValues,
) -> None:
    """Retrain each strategy's best on smaller training sets: where does it overtake feature extraction?"""
    from ..execution import run_curve
    from ..slots import Resources

    place, observer = common.locate(), observer_of(ctx, common.as_json)
    wanted = [text.strip() for text in sizes.split(",") if text.strip()]
    ended = run_curve(study, place, observer, sizes=wanted, seeds=seeds, resources=Resources(**resources))
    end(ctx, ended, common.as_json, show=ctx.obj.curve)
