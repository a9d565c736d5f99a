"""The commands for several workers: worker, pause, stop.

The commands import heavy modules when they run, so ``--help`` is fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .application import locate, observer_of
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
        str | None, typer.Option("--data", help="Location of the dataset on this machine.", show_default="the study's")
    ] = None,
    image_root: Annotated[
        str | None,
        typer.Option(
            "--image-root",
            help="Folder on this machine from which the paths of a CSV or Parquet file start.",
            show_default="the study's",
        ),
    ] = None,
    *,
    resources: ResourceValues,
    tracking_uri: Annotated[
        str | None,
        typer.Option("--tracking-uri", help="MLflow URI to use on this machine.", show_default="the study's"),
    ] = None,
    workspace: WorkspaceOption = None,
) -> None:
    """Work on a study from this machine until it is finished."""
    from ..execution import join
    from ..slots import Resources

    place, observer = locate(workspace, storage, artifacts), observer_of(ctx, False)
    wanted = Resources(**resources)
    join(study, place, observer, resources=wanted, data=data, image_root=image_root, tracking_uri=tracking_uri)
    typer.echo(f"Study {study} has no work left.")


def pause(study: StudyArgument, storage: StorageOption = None, workspace: WorkspaceOption = None) -> None:
    """Pause all workers of a study after their current epoch."""
    _set_control(study, locate(workspace, storage), "pause")


def stop(study: StudyArgument, storage: StorageOption = None, workspace: WorkspaceOption = None) -> None:
    """Stop all workers of a study after their current epoch."""
    _set_control(study, locate(workspace, storage), "stop")


def _set_control(study: str, place: Workspace, wish: str) -> None:
    from ..study import Study

    Study.load(study, place).wish.set(wish)
    typer.echo(
        f"The workers of {study} {wish} after their current epoch. "
        f"Continue with: frostline resume {study}{place.option}"
    )
