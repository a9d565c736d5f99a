"""The command that probes the pretrained network after each unit.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

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
def truncate(
    ctx: typer.Context,
    study: StudyArgument,
    *,
    resources: ResourceValues,
    common: CommonValues,
) -> None:
    """Probe the pretrained network after each unit: is a smaller network as good?"""
    from ..execution import run_truncation
    from ..slots import Resources

    place, observer = common.locate(), observer_of(ctx, common.as_json)
    ended = run_truncation(study, place, observer, resources=Resources(**resources))
    end(ctx, ended, common.as_json, show=ctx.obj.truncation)
