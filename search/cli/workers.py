"""The commands for several workers: join a study, and tell all of its workers to pause or to stop.

Heavy imports wait inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .app import locate, observer_of
from .options import (
    LOCAL_RESOURCES,
    ArtifactsOption,
    ResourceValues,
    StorageOption,
    StudyArgument,
    WorkspaceOption,
    resource_options,
)

if TYPE_CHECKING:
    from ...storage.workspace import Workspace


@resource_options(*LOCAL_RESOURCES)
def worker(
    ctx: typer.Context,
    study: StudyArgument,
    storage: StorageOption = None,
    artifacts: ArtifactsOption = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Where the data are on this machine.", show_default="as in the study")
    ] = None,
    *,
    resources: ResourceValues,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="MLflow as seen from here.", show_default="the study's"),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Join a running study from any machine that reaches its database, until nothing is left to do."""
    from ..execution.run import join
    from ..execution.supervisor import Resources

    place, observer = locate(workspace, storage, artifacts), observer_of(ctx, False)
    join(study, place, observer, resources=Resources(**resources), data=data, tracking_uri=tracking_uri)
    typer.echo(f"Nothing is left to do for study {study}.")


def pause(study: StudyArgument, storage: StorageOption = None, workspace: WorkspaceOption = None) -> None:
    """Have all workers of a study wait, wherever they are, each after the epoch it is in; resume lets them go on."""
    _wish(study, locate(workspace, storage), "pause")


def stop(study: StudyArgument, storage: StorageOption = None, workspace: WorkspaceOption = None) -> None:
    """Have all workers of a study end, wherever they are, each after the epoch it is in."""
    _wish(study, locate(workspace, storage), "stop")


def _wish(study: str, place: Workspace, wish: str) -> None:
    from ..study.study import Study

    Study.load(study, place).wish.set(wish)
    typer.echo(
        f"The workers of {study} {wish} after the epoch that each is in. "
        f"Go on with: frostline resume {study}{place.option}"
    )
